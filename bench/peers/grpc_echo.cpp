// A number there and back by a unary gRPC call.
//
//   grpc_echo serve ADDRESS            serves until it is killed
//   grpc_echo call SECONDS ADDRESS     prints "round_us N", the median of batches of calls
#include <grpcpp/grpcpp.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <string>
#include <vector>

#include "echo.grpc.pb.h"

namespace {

using std::chrono::steady_clock;
constexpr int kBatch = 100;

class EchoImpl final : public bench::Echo::Service {
  grpc::Status Call(grpc::ServerContext*, const bench::Number* asked, bench::Number* answer) override {
    answer->set_number(asked->number());
    return grpc::Status::OK;
  }
};

int serve(const std::string& address) {
  EchoImpl service;
  grpc::ServerBuilder builder;
  builder.AddListeningPort(address, grpc::InsecureServerCredentials());
  builder.RegisterService(&service);
  const std::unique_ptr<grpc::Server> server = builder.BuildAndStart();
  std::printf("%s\n", address.c_str());
  std::fflush(stdout);
  for (;;) ::pause();
}

int call(double seconds, const std::string& address) {
  const auto stub = bench::Echo::NewStub(grpc::CreateChannel(address, grpc::InsecureChannelCredentials()));
  std::uint64_t number = 0;
  const auto some = [&](int count) {
    for (int i = 0; i < count; ++i) {
      grpc::ClientContext context;
      bench::Number asked;
      bench::Number answer;
      asked.set_number(++number);
      if (!stub->Call(&context, asked, &answer).ok() || answer.number() != number) std::exit(1);
    }
  };
  some(500);
  std::vector<double> batches;  // of calls, seconds
  for (const auto end = steady_clock::now() + std::chrono::duration<double>(seconds);
       steady_clock::now() < end;) {
    const auto begin = steady_clock::now();
    some(kBatch);
    batches.push_back(std::chrono::duration<double>(steady_clock::now() - begin).count());
  }
  std::nth_element(batches.begin(), batches.begin() + static_cast<std::ptrdiff_t>(batches.size() / 2),
                   batches.end());
  std::printf("round_us %.3f\n", batches[batches.size() / 2] / kBatch * 1e6);
  return 0;
}

}  // namespace

int main(int argc, char** argv) {
  const std::string mode = argc > 1 ? argv[1] : "";
  if (mode == "serve" && argc == 3) return serve(argv[2]);
  if (mode == "call" && argc == 4) return call(std::atof(argv[2]), argv[3]);
  return 2;
}
