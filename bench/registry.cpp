// Puts and gets a second through the embedded registry's service from another process, beside one member of
// etcd through its JSON gateway, with 1 client and with 64. Both write to the same disk and wait for it.
//
//   registry [ROW...]      rows as bench/all reads them
//   registry --seconds S   of each measurement [2]
#include <arpa/inet.h>
#include <curl/curl.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <csignal>
#include <cstdio>
#include <functional>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "mvm/base/base64.h"
#include "mvm/base/file.h"
#include "mvm/base/subprocess.h"
#include "mvm/registry/packing.h"
#include "mvm/registry/rmix/rmix_registry.h"
#include "mvm/registry/sqlite/sqlite_registry.h"
#include "mvm/rmix/native.h"

namespace {

namespace fs = std::filesystem;
using namespace mvm::registry;  // NOLINT(google-build-using-namespace): it measures nothing else

constexpr int kRounds = 3;
constexpr int kKeys = 64;  // of each client
double seconds = 2;

std::string value() { return std::string(100, 'x'); }
std::string name_of(int client, int i) {
  return "bench/" + std::to_string(client) + "/" + std::to_string(i % kKeys);
}

/// One client's next operation; false: it failed.
using Operation = std::function<bool(int i)>;

[[noreturn]] void give_up(const std::string& why) {
  std::fprintf(stderr, "bench: registry: %s\n", why.c_str());
  std::exit(2);
}

/// Operations a second of all clients together.
double rate(std::vector<Operation>& clients) {
  std::atomic<bool> stop{false};
  std::atomic<std::uint64_t> done{0};
  std::vector<std::thread> threads;
  const auto begin = std::chrono::steady_clock::now();
  for (auto& client : clients)
    threads.emplace_back([&] {
      std::uint64_t mine = 0;
      for (int i = 0; !stop; ++i, ++mine)
        if (!client(i)) give_up("an operation failed");
      done += mine;
    });
  std::this_thread::sleep_for(std::chrono::duration<double>(seconds));
  stop = true;
  for (auto& thread : threads) thread.join();
  return static_cast<double>(done) /
         std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
}

// ---- ours ----

mvm::rmix::Providers native() {
  mvm::rmix::Providers providers;
  providers.add(mvm::rmix::make_native_provider());
  return providers;
}

/// The server's process: an embedded registry behind shared memory, until its parent goes.
[[noreturn]] void serve(const fs::path& folder, int ready) {
  ::prctl(PR_SET_PDEATHSIG, SIGKILL);
  mvm::SystemClock clock;
  auto registry = open_sqlite_registry(folder / "registry.db", clock);
  const auto providers = native();
  auto server =
      mvm::rmix::Server::create(providers, {.threads = {.minimum = 0, .maximum = 64, .queue = 1024}});
  const auto as_said = [](const mvm::rmix::Caller&, const std::string& said) -> mvm::Result<std::string> {
    return said;
  };
  if (!registry || !server->add(kService, make_rmix_service(**registry, as_said)) ||
      !server->listen("native+shm:" + (folder / "s").string()))
    ::_exit(1);
  if (::write(ready, "r", 1) != 1) ::_exit(1);
  while (true) ::pause();
}

class Ours {
 public:
  explicit Ours(const fs::path& folder) {
    int ends[2];
    if (::pipe2(ends, O_CLOEXEC) != 0) give_up("no pipe");
    server_ = ::fork();
    if (server_ == 0) serve(folder, ends[1]);
    ::close(ends[1]);
    char byte = 0;
    if (::read(ends[0], &byte, 1) != 1) give_up("the service did not start");
    ::close(ends[0]);
    address_ = std::string(kService) + " native+shm:" + (folder / "s").string();
    client_ = mvm::rmix::Client::create(providers_, {});
  }
  ~Ours() { ::kill(server_, SIGKILL); }
  Ours(const Ours&) = delete;
  Ours& operator=(const Ours&) = delete;

  std::vector<Operation> clients(int count, bool put) {
    std::vector<Operation> result;
    for (int c = 0; c < count; ++c) {
      auto bound = bind_rmix_registry(*client_, address_);
      if (!bound) give_up(bound.error().describe());
      std::shared_ptr<Registry> remote(std::move(*bound));
      auto session = std::make_shared<Session>(*remote, "client" + std::to_string(c));
      const Item item = make_item(PackWriter().bytes(value()).take());
      if (put)
        result.push_back([=, keeps = remote](int i) {
          return session->putinfo(name_of(c, i), item, kPersistent | kOverwrite).has_value();
        });
      else
        result.push_back([=](int i) { return remote->read(name_of(c, i), 0, 0).has_value(); });
    }
    return result;
  }

 private:
  mvm::rmix::Providers providers_ = native();
  pid_t server_ = -1;
  std::string address_;
  std::unique_ptr<mvm::rmix::Client> client_;
};

// ---- etcd ----

std::uint16_t free_port() {
  const mvm::UniqueFd fd(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  socklen_t size = sizeof address;
  if (::bind(fd.get(), reinterpret_cast<sockaddr*>(&address), size) != 0 ||
      ::getsockname(fd.get(), reinterpret_cast<sockaddr*>(&address), &size) != 0)
    give_up("no port");
  return ntohs(address.sin_port);
}

class Etcd {
 public:
  explicit Etcd(const fs::path& folder) {
    url_ = "http://127.0.0.1:" + std::to_string(free_port());
    const std::string peer = "http://127.0.0.1:" + std::to_string(free_port());
    const mvm::UniqueFd null(::open("/dev/null", O_WRONLY | O_CLOEXEC));
    mvm::SpawnOptions options;
    options.argv = {"etcd",
                    "--data-dir=" + (folder / "etcd").string(),
                    "--listen-client-urls=" + url_,
                    "--advertise-client-urls=" + url_,
                    "--listen-peer-urls=" + peer,
                    "--initial-advertise-peer-urls=" + peer,
                    "--initial-cluster=default=" + peer,
                    "--logger=zap",
                    "--log-level=error"};
    options.standard_output = null.get();
    options.standard_error = null.get();
    auto spawned = mvm::Subprocess::spawn(options);
    if (!spawned) give_up(spawned.error().describe() + " (Debian: etcd-server)");
    etcd_ = std::make_unique<mvm::Subprocess>(std::move(*spawned));
    const auto probe = clients(1, true);
    for (int tries = 0; !probe[0](0); ++tries) {
      if (tries == 1000) give_up("etcd does not answer");
      std::this_thread::sleep_for(std::chrono::milliseconds(20));
    }
  }

  std::vector<Operation> clients(int count, bool put) {
    std::vector<Operation> result;
    for (int c = 0; c < count; ++c) {
      const std::shared_ptr<CURL> easy(curl_easy_init(), curl_easy_cleanup);
      const auto answer = std::make_shared<std::string>();
      const auto take = +[](char* bytes, std::size_t size, std::size_t n, void* to) {
        static_cast<std::string*>(to)->append(bytes, size * n);
        return size * n;
      };
      curl_easy_setopt(easy.get(), CURLOPT_URL, (url_ + (put ? "/v3/kv/put" : "/v3/kv/range")).c_str());
      curl_easy_setopt(easy.get(), CURLOPT_WRITEFUNCTION, take);
      curl_easy_setopt(easy.get(), CURLOPT_WRITEDATA, answer.get());
      curl_easy_setopt(easy.get(), CURLOPT_NOSIGNAL, 1L);
      curl_easy_setopt(easy.get(), CURLOPT_PROXY, "");
      result.push_back([=](int i) {
        std::string body = "{\"key\":\"" + mvm::base64(name_of(c, i)) + "\"";
        if (put) body += ",\"value\":\"" + mvm::base64(value()) + "\"";
        body += "}";
        answer->clear();
        curl_easy_setopt(easy.get(), CURLOPT_POSTFIELDSIZE, static_cast<long>(body.size()));
        curl_easy_setopt(easy.get(), CURLOPT_POSTFIELDS, body.c_str());
        long status = 0;
        return curl_easy_perform(easy.get()) == CURLE_OK &&
               curl_easy_getinfo(easy.get(), CURLINFO_RESPONSE_CODE, &status) == CURLE_OK && status == 200 &&
               (put || answer->find("\"kvs\"") != std::string::npos);
      });
    }
    return result;
  }

 private:
  std::string url_;
  std::unique_ptr<mvm::Subprocess> etcd_;
};

double median(std::vector<double> values) {
  std::sort(values.begin(), values.end());
  return values[values.size() / 2];
}

}  // namespace

int main(int argc, char** argv) {
  std::vector<std::string> rows;
  for (int i = 1; i < argc; ++i) {
    if (std::string(argv[i]) == "--seconds" && i + 1 < argc)
      seconds = std::atof(argv[++i]);
    else
      rows.emplace_back(argv[i]);
  }
  auto made = mvm::make_temporary_folder("/var/tmp", "mvm-bench-registry-");
  if (!made) give_up(made.error().describe());
  const fs::path folder = *made;
  {
    Ours ours(folder);  // forks: before any thread
    curl_global_init(CURL_GLOBAL_DEFAULT);
    Etcd etcd(folder);
    for (const int clients : {1, 64})
      for (const bool put : {true, false}) {
        const std::string row =
            std::string("registry.") + (put ? "put" : "get") + "." + std::to_string(clients);
        if (!rows.empty() && std::none_of(rows.begin(), rows.end(), [&](const std::string& wish) {
              return row.starts_with(wish) || wish == "registry";
            }))
          continue;
        auto our_clients = ours.clients(clients, put);
        auto their_clients = etcd.clients(clients, put);
        if (!put) {  // what is read must be there
          for (auto& client : ours.clients(clients, true))
            for (int i = 0; i < kKeys; ++i) (void)client(i);
          for (auto& client : etcd.clients(clients, true))
            for (int i = 0; i < kKeys; ++i) (void)client(i);
        }
        std::vector<double> mine;
        std::vector<double> theirs;
        for (int round = 0; round < kRounds; ++round) {
          mine.push_back(rate(our_clients));
          theirs.push_back(rate(their_clients));
        }
        const double a = median(mine);
        const double b = median(theirs);
        std::printf("%s\t%.6g\t%.6g\t1/s\t%.3f\t>=%d*peer\n", row.c_str(), a, b, a / b, put ? 2 : 4);
        std::fflush(stdout);
      }
  }
  (void)mvm::remove_tree(folder);
  return 0;
}
