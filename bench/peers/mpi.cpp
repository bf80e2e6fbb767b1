// MPI, either implementation: pairs of ranks.
#include <mpi.h>

#include "measure.h"

namespace {

struct Rank {
  int peer;
  void send(const char* data, std::size_t size) {
    MPI_Send(data, static_cast<int>(size), MPI_BYTE, peer, 1, MPI_COMM_WORLD);
  }
  void receive(char* data, std::size_t size) {
    MPI_Recv(data, static_cast<int>(size), MPI_BYTE, peer, 1, MPI_COMM_WORLD, MPI_STATUS_IGNORE);
  }
  void send_window(const char* data, std::size_t size, int count) {
    MPI_Request requests[64];
    for (int i = 0; i < count; ++i) {
      MPI_Isend(data + static_cast<std::size_t>(i) * size, static_cast<int>(size), MPI_BYTE, peer, 1,
                MPI_COMM_WORLD, requests + i);
    }
    MPI_Waitall(count, requests, MPI_STATUSES_IGNORE);
  }
  void receive_window(char* data, std::size_t size, int count) {
    MPI_Request requests[64];
    for (int i = 0; i < count; ++i) {
      MPI_Irecv(data + static_cast<std::size_t>(i) * size, static_cast<int>(size), MPI_BYTE, peer, 1,
                MPI_COMM_WORLD, requests + i);
    }
    MPI_Waitall(count, requests, MPI_STATUSES_IGNORE);
  }
  void flush() {}
};

}  // namespace

int main(int argc, char** argv) {
  MPI_Init(&argc, &argv);
  const measure::Config config = measure::read_arguments(argc, argv);
  int rank = 0;
  MPI_Comm_rank(MPI_COMM_WORLD, &rank);
  if (config.mode == "barrier") {
    MPI_Barrier(MPI_COMM_WORLD);
    if (rank == 0) std::printf("passed %.6f\n", measure::clock_of(CLOCK_REALTIME));
  } else {
    measure::pin(config, static_cast<unsigned>(rank));
    Rank channel{rank ^ 1};
    measure::Pair pair(channel, config);
    MPI_Barrier(MPI_COMM_WORLD);
    rank % 2 == 0 ? pair.lead() : pair.follow();
  }
  MPI_Finalize();
  return 0;
}
