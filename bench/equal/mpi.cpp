// The programs in MPI, either implementation: who is whose neighbour is worked out from ranks here.
#include <mpi.h>

#include "programs.h"

namespace {

struct Net {
  int rank = 0, size = 1;
  std::vector<int> to, from;           // ranks
  std::vector<int> out_tags, in_tags;  // two processes may be neighbours on two sides

  std::size_t index() const { return static_cast<std::size_t>(rank); }
  std::size_t count() const { return static_cast<std::size_t>(size); }
  void send(int k, const void* data, std::size_t bytes) {
    const auto at = static_cast<std::size_t>(k);
    MPI_Send(data, static_cast<int>(bytes), MPI_BYTE, to[at], out_tags[at], MPI_COMM_WORLD);
  }
  void receive(int k, void* data, std::size_t bytes) {
    const auto at = static_cast<std::size_t>(k);
    MPI_Recv(data, static_cast<int>(bytes), MPI_BYTE, from[at], in_tags[at], MPI_COMM_WORLD,
             MPI_STATUS_IGNORE);
  }
  void swap(const equal::Piece* pieces, int count) {
    MPI_Request requests[8];
    for (int i = 0; i < count; ++i) {
      const auto at = static_cast<std::size_t>(pieces[i].from);
      MPI_Irecv(pieces[i].in, static_cast<int>(pieces[i].bytes), MPI_BYTE, from[at], in_tags[at],
                MPI_COMM_WORLD, requests + i);
    }
    for (int i = 0; i < count; ++i) {
      const auto at = static_cast<std::size_t>(pieces[i].neighbour);
      MPI_Isend(pieces[i].out, static_cast<int>(pieces[i].bytes), MPI_BYTE, to[at], out_tags[at],
                MPI_COMM_WORLD, requests + count + i);
    }
    MPI_Waitall(2 * count, requests, MPI_STATUSES_IGNORE);
  }
  template <class Use>
  void exchange(const equal::Piece& piece, Use use) {
    swap(&piece, 1);
    use(piece.in);
  }
  template <class Pack, class Unpack>
  void all_to_all(std::size_t bytes, Pack pack, Unpack unpack) {
    const std::size_t doubles = bytes / sizeof(double);
    packed.resize(doubles * count());
    came.resize(doubles * count());
    for (std::size_t j = 0; j < count(); ++j) pack(j, packed.data() + j * doubles);
    MPI_Alltoall(packed.data(), static_cast<int>(doubles), MPI_DOUBLE, came.data(), static_cast<int>(doubles),
                 MPI_DOUBLE, MPI_COMM_WORLD);
    for (std::size_t j = 0; j < count(); ++j) unpack(j, came.data() + j * doubles);
  }
  std::vector<double> packed, came;

  void wire(const std::string& name) {
    if (name == "ring") {
      to = {(rank + 1) % size}, from = {(rank + size - 1) % size};
    } else if (name == "pipeline") {
      to = {rank + 1 < size ? rank + 1 : MPI_PROC_NULL}, from = {rank > 0 ? rank - 1 : MPI_PROC_NULL};
    } else if (name == "fft") {
      for (int bit = size / 2; bit >= 1; bit /= 2) to.push_back(rank ^ bit);
      from = to;
    } else if (name == "stencil") {
      const int columns = size >= 4 ? 2 : 1, rows = size / columns;
      const int x = rank % columns, y = rank / columns;
      const int north = (y + rows - 1) % rows * columns + x, south = (y + 1) % rows * columns + x;
      const int east = y * columns + (x + 1) % columns, west = y * columns + (x + columns - 1) % columns;
      to = from = {north, south, east, west};
    }
    for (std::size_t k = 0; k < to.size(); ++k) {
      out_tags.push_back(static_cast<int>(k));
      in_tags.push_back(static_cast<int>(name == "stencil" ? k ^ 1 : k));
    }
  }
};

}  // namespace

int main(int argc, char** argv) {
  MPI_Init(&argc, &argv);
  if (argc != 4) return 2;
  Net net;
  MPI_Comm_rank(MPI_COMM_WORLD, &net.rank);
  MPI_Comm_size(MPI_COMM_WORLD, &net.size);
  net.wire(argv[1]);
  MPI_Barrier(MPI_COMM_WORLD);
  equal::run(net, argv[1], std::strtoul(argv[2], nullptr, 10), std::strtol(argv[3], nullptr, 10));
  MPI_Finalize();
  return 0;
}
