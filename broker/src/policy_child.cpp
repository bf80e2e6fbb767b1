#include "mvm/broker/policy_child.h"

#include <dlfcn.h>
#include <grp.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include <csignal>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <memory>
#include <string>

#include "mvm/base/file.h"
#include "mvm/base/frame.h"
#include "mvm/policy.h"

namespace mvm::broker {
namespace {

constexpr int kStream = 3;
constexpr std::uint64_t kRoom = kMaxFrameBlob;
constexpr std::uint64_t kLargestSnapshot = 64U << 20U;

struct CloseLibrary {
  void operator()(void* library) const { ::dlclose(library); }
};
using Library = std::unique_ptr<void, CloseLibrary>;

/// A snapshot, mapped for reading.
class Mapping {
 public:
  Mapping(int fd, std::uint64_t size)
      : size_(size), address_(::mmap(nullptr, size, PROT_READ, MAP_PRIVATE, fd, 0)) {}
  ~Mapping() {
    if (address_ != MAP_FAILED) ::munmap(address_, size_);
  }
  Mapping(const Mapping&) = delete;
  Mapping& operator=(const Mapping&) = delete;
  [[nodiscard]] const void* get() const { return address_ == MAP_FAILED ? nullptr : address_; }

 private:
  std::uint64_t size_;
  void* address_;
};

/// Bytes of address space that this process has.
std::uint64_t address_space() {
  const auto pages = read_file("/proc/self/statm", 4096);
  const std::uint64_t count = pages ? std::strtoull(pages->c_str(), nullptr, 10) : 0;
  return count * static_cast<std::uint64_t>(::getpagesize());
}

/// A component may compute, and nothing else of note.
void confine() {
  ::prctl(PR_SET_PDEATHSIG, SIGKILL);
  ::prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
  const auto most = address_space() + (1ULL << 30U);
  const rlimit memory{most, most};
  ::setrlimit(RLIMIT_AS, &memory);
  const rlimit none{0, 0};
  ::setrlimit(RLIMIT_CORE, &none);
  ::setrlimit(RLIMIT_FSIZE, &none);
  const rlimit files{32, 32};
  ::setrlimit(RLIMIT_NOFILE, &files);
  if (::geteuid() == 0) {
    constexpr unsigned kNobody = 65534;
    const bool dropped = ::setgroups(0, nullptr) == 0 && ::setresgid(kNobody, kNobody, kNobody) == 0 &&
                         ::setresuid(kNobody, kNobody, kNobody) == 0;
    if (!dropped) ::_exit(126);
  }
}

Result<const mvm_policy_descriptor*> check(void* library) {
  const auto* found = static_cast<const mvm_policy_descriptor*>(::dlsym(library, "mvm_policy"));
  if (found == nullptr) return Error(ErrorCode::kInvalid, "it defines no mvm_policy");
  if (found->size < sizeof(mvm_policy_descriptor) || found->api != MVM_POLICY_API)
    return Error(ErrorCode::kUnsupported, "its interface is version " + std::to_string(found->api) +
                                              ", expected " + std::to_string(MVM_POLICY_API));
  if (found->abi == nullptr || std::string(found->abi) != MVM_POLICY_ABI)
    return Error(ErrorCode::kUnsupported, "it was built for another compiler's ABI");
  if (found->kind == nullptr || found->name == nullptr || found->create == nullptr ||
      found->decide == nullptr)
    return Error(ErrorCode::kInvalid, "its descriptor is incomplete");
  return found;
}

Status answer(const mvm_policy_descriptor& component, void* self, const Frame& question, std::string& room) {
  const auto size = question.head.value("size", std::uint64_t{0});
  if (question.descriptors.size() != 1 || size == 0 || size > kLargestSnapshot)
    return Error(ErrorCode::kCorrupt, "a question without its snapshot");
  struct stat status {};
  if (::fstat(question.descriptors[0].get(), &status) != 0 ||
      static_cast<std::uint64_t>(status.st_size) < size)
    return Error(ErrorCode::kCorrupt, "the snapshot is shorter than said");
  const Mapping snapshot(question.descriptors[0].get(), size);
  if (snapshot.get() == nullptr) return Error::from_errno(errno, "map the snapshot");
  const auto written = component.decide(self, snapshot.get(), size, room.data(), kRoom);
  const auto id = question.head.value("id", std::uint64_t{0});
  if (written < 0 || static_cast<std::uint64_t>(written) > kRoom)
    return send_frame(kStream, {{"t", "none"}, {"id", id}});
  return send_frame(kStream, {{"t", "plan"}, {"id", id}},
                    std::string_view(room).substr(0, static_cast<std::size_t>(written)));
}

int serve(const mvm_policy_descriptor& component, const std::string& options) {
  void* self = component.create(options.c_str());
  if (self == nullptr) {
    (void)send_frame(kStream, {{"t", "refused"}, {"reason", "the component refuses these options"}});
    return 1;
  }
  const auto hello =
      send_frame(kStream, {{"t", "hello"},
                           {"kind", component.kind},
                           {"name", component.name},
                           {"version", component.version == nullptr ? "" : component.version}});
  std::string room(kRoom, '\0');
  FrameReader reader(kStream);
  Status going = hello;
  while (going) {
    auto question = reader.read();
    if (!question) break;
    going = answer(component, self, *question, room);
  }
  if (component.destroy != nullptr) component.destroy(self);
  return 0;
}

}  // namespace

int policy_child_main(int argc, char** argv) {
  if (argc < 2) {
    std::fputs("usage: COMPONENT-FILE [OPTIONS], with the broker's stream as descriptor 3\n", stderr);
    return 2;
  }
  // Loaded before privileges go: the file may lie where only its owner reads.
  const Library library(::dlopen(argv[1], RTLD_NOW | RTLD_LOCAL));
  confine();
  if (!library) {
    const char* why = ::dlerror();
    (void)send_frame(kStream, {{"t", "refused"}, {"reason", why == nullptr ? "it cannot be loaded" : why}});
    return 1;
  }
  const auto component = check(library.get());
  if (!component || ((*component)->init != nullptr && (*component)->init() != 0)) {
    (void)send_frame(
        kStream, {{"t", "refused"}, {"reason", component ? "its init failed" : component.error().message()}});
    return 1;
  }
  const int code = serve(**component, argc > 2 ? argv[2] : "");
  if ((*component)->fini != nullptr) (*component)->fini();
  return code;
}

}  // namespace mvm::broker
