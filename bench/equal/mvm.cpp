// The programs over links: who is whose neighbour is the topology's business.
#include <mvm.h>

#include "programs.h"

namespace {

[[noreturn]] void die() {
  std::fprintf(stderr, "%s\n", mvm_error());
  std::exit(1);
}

struct Net {
  std::vector<int> outs, ins;  // ports

  std::size_t index() const { return mvm_index(); }
  std::size_t count() const { return mvm_count(); }
  void send(int k, const void* data, std::size_t bytes) {
    if (mvm_enqueue(outs[static_cast<std::size_t>(k)], data, bytes, nullptr) != MVM_OK) die();
  }
  void receive(int k, void* data, std::size_t bytes) {
    if (mvm_dequeue(ins[static_cast<std::size_t>(k)], data, bytes, nullptr) < 0) die();
  }
  void swap(const equal::Piece* pieces, int count) {
    for (int i = 0; i < count; ++i) send(pieces[i].neighbour, pieces[i].out, pieces[i].bytes);
    for (int i = 0; i < count; ++i) receive(pieces[i].from, pieces[i].in, pieces[i].bytes);
  }
  template <class Use>
  void exchange(const equal::Piece& piece, Use use) {
    send(piece.neighbour, piece.out, piece.bytes);
    const int in = ins[static_cast<std::size_t>(piece.from)];
    const void* data = nullptr;
    if (mvm_peek(in, &data, nullptr) < 0) die();
    use(data);
    if (mvm_release(in) != MVM_OK) die();
  }
  template <class Pack, class Unpack>
  void all_to_all(std::size_t bytes, Pack pack, Unpack unpack) {
    for (std::size_t i = 1; i < count(); ++i) {
      const std::size_t to = (index() + i) % count();
      void* block = nullptr;
      if (mvm_reserve(outs[to], bytes, &block, nullptr) != MVM_OK) die();
      pack(to, static_cast<double*>(block));
      if (mvm_commit(outs[to], bytes) != MVM_OK) die();
    }
    own.resize(bytes / sizeof(double));
    pack(index(), own.data());
    unpack(index(), own.data());
    for (std::size_t i = 1; i < count(); ++i) {
      const std::size_t from = (index() + count() - i) % count();
      const void* block = nullptr;
      if (mvm_peek(ins[from], &block, nullptr) < 0) die();
      unpack(from, static_cast<const double*>(block));
      if (mvm_release(ins[from]) != MVM_OK) die();
    }
  }
  std::vector<double> own;

  void add(const char* out, const char* in, unsigned elements = 1) {
    for (unsigned i = 0; i < elements; ++i) {
      outs.push_back(mvm_port(out, i));
      ins.push_back(mvm_port(in, i));
    }
  }
  void name_ports(const std::string& name) {
    if (name == "stencil") {
      for (const char* side : {"north", "south", "east", "west"})
        add((std::string("to-") + side).c_str(), (std::string("from-") + side).c_str());
    } else {
      add("out", "in", mvm_port_size("out"));
    }
  }
};

}  // namespace

int main(int argc, char** argv) {
  if (argc != 4) return 2;
  if (mvm_attach() != MVM_OK) die();
  Net net;
  net.name_ports(argv[1]);
  equal::run(net, argv[1], std::strtoul(argv[2], nullptr, 10), std::strtol(argv[3], nullptr, 10));
  return mvm_detach() == MVM_OK ? 0 : 1;
}
