#include "membership.h"

#include <arpa/inet.h>
#include <netdb.h>
#include <sys/socket.h>

#include <array>
#include <nlohmann/json.hpp>
#include <thread>

#include "mvm/base/digest.h"
#include "mvm/base/file.h"
#include "mvm/base/frame.h"
#include "mvm/base/host_port.h"
#include "mvm/base/log.h"
#include "mvm/base/unique_fd.h"
#include "mvm/soap/join.h"

namespace mvm::programs {
namespace {

constexpr std::size_t kLargestFile = 64 << 10;
constexpr std::uint16_t kUsualPort = 7780;
constexpr int kTries = 3;
constexpr std::chrono::milliseconds kPause{300};

std::filesystem::path folder_of(const std::filesystem::path& state) { return state / "host"; }

std::string url_of(const HostPort& broker) { return "https://" + broker.text(); }

/// "HOST[:PORT]" or an https URL of it.
Result<HostPort> parse_broker(std::string text) {
  const Error bad(ErrorCode::kInvalid,
                  "found --join \"" + text + "\", expected the broker's ADDRESS or ADDRESS:PORT");
  if (text.starts_with("https://")) text.erase(0, 8);
  if (text.ends_with("/")) text.pop_back();
  const auto place = read_host_port(text, kUsualPort);
  if (!place || place->host.find('/') != std::string::npos) return bad;
  return *place;
}

/// This machine's address on the way to the broker.
Result<std::string> own_address(const HostPort& broker) {
  const auto failed = [&](const std::string& why) {
    return Error(ErrorCode::kUnavailable, url_of(broker) + " cannot be reached: " + why);
  };
  addrinfo hints{};
  hints.ai_socktype = SOCK_DGRAM;
  addrinfo* found = nullptr;
  if (const int code =
          ::getaddrinfo(broker.host.c_str(), std::to_string(broker.port).c_str(), &hints, &found);
      code != 0)
    return failed(::gai_strerror(code));
  const std::unique_ptr<addrinfo, decltype(&::freeaddrinfo)> list(found, &::freeaddrinfo);
  const UniqueFd socket(::socket(list->ai_family, SOCK_DGRAM | SOCK_CLOEXEC, 0));
  sockaddr_storage own{};
  socklen_t size = sizeof own;
  if (!socket || ::connect(socket.get(), list->ai_addr, list->ai_addrlen) != 0 ||
      ::getsockname(socket.get(), reinterpret_cast<sockaddr*>(&own), &size) != 0)
    return failed("no way leads there");
  std::array<char, NI_MAXHOST> text{};
  if (::getnameinfo(reinterpret_cast<sockaddr*>(&own), size, text.data(), text.size(), nullptr, 0,
                    NI_NUMERICHOST) != 0)
    return failed("no address of this machine leads there");
  return std::string(text.data());
}

Status write_membership(const std::filesystem::path& folder, const Membership& member, const std::string& key,
                        const soap::JoinedHost& joined) {
  MVM_TRY(write_file_durably(folder / "host.key", key, 0600));
  MVM_TRY(write_file_durably(folder / "host.crt", joined.certificate));
  MVM_TRY(write_file_durably(folder / "ca.crt", joined.authority));
  const nlohmann::json record = {{"broker", member.broker},       {"name", member.name},
                                 {"address", member.address},     {"port", member.port},
                                 {"authority", member.authority}, {"token", member.token}};
  // Last: without it nothing was joined.
  return write_file_durably(folder / "membership.json", record.dump(2) + "\n", 0600);
}

bool wildcard(const std::string& address) { return address == "0.0.0.0" || address == "::"; }

/// Where the broker shall reach this host.
Result<Membership> wanted(const DaemonConfig& config, const HostPort& broker, const soap::JoinToken& token) {
  Membership member{.broker = url_of(broker),
                    .name = config.name,
                    .address = config.advertise,
                    .port = config.listen_given ? config.port : kUsualPort,
                    .authority = token.authority,
                    .token = sha256_hex(token.secret),
                    .tls = {}};
  if (member.port == 0)
    return Error(ErrorCode::kInvalid, "a host that joins needs a port that stays: --listen ADDRESS:PORT");
  if (member.address.empty() && config.listen_given && !wildcard(config.address))
    member.address = config.address;
  if (member.address.empty()) {
    MVM_ASSIGN(member.address, own_address(broker));
  }
  return member;
}

Result<soap::JoinedHost> ask(const Membership& member, const soap::JoinToken& token, const std::string& key) {
  const soap::JoinOptions options{.broker = member.broker,
                                  .token = token,
                                  .name = member.name,
                                  .address = HostPort{member.address, member.port}.text(),
                                  .key = key};
  // An answer may get lost after the broker took the token: with the same key it takes it again.
  for (int tries = 1;; ++tries) {
    auto joined = soap::join_broker(options);
    const bool silent = !joined && (joined.error().code() == ErrorCode::kUnavailable ||
                                    joined.error().code() == ErrorCode::kTimeout);
    if (!silent || tries == kTries) return joined;
    std::this_thread::sleep_for(kPause);
  }
}

}  // namespace

Result<std::optional<Membership>> read_membership(const std::filesystem::path& state) {
  const std::filesystem::path folder = folder_of(state);
  std::error_code ignored;
  if (!std::filesystem::exists(folder / "membership.json", ignored)) return std::optional<Membership>();
  MVM_ASSIGN(const std::string text, read_file(folder / "membership.json", kLargestFile));
  MVM_ASSIGN(const nlohmann::json record, parse_json(text));
  try {
    return std::optional(Membership{
        .broker = record.at("broker"),
        .name = record.at("name"),
        .address = record.at("address"),
        .port = record.at("port"),
        .authority = record.at("authority"),
        .token = record.at("token"),
        .tls = {.certificate = folder / "host.crt", .key = folder / "host.key", .ca = folder / "ca.crt"}});
  } catch (const nlohmann::json::exception& problem) {
    return Error(ErrorCode::kCorrupt, (folder / "membership.json").string() + ": " + problem.what());
  }
}

Status join(const DaemonConfig& config) {
  MVM_ASSIGN(const soap::JoinToken token, soap::parse_join_token(config.token));
  MVM_ASSIGN(const HostPort broker, parse_broker(config.join));
  MVM_ASSIGN(const auto present, read_membership(config.state));
  std::error_code ignored;
  if (std::filesystem::exists(config.state / "broker.db", ignored))
    return Error(ErrorCode::kConflict,
                 "the state folder " + config.state.string() + " is a broker's: join with another --state");
  if (present && present->authority != token.authority)
    return Error(ErrorCode::kConflict,
                 "this machine is a host of " + present->broker + ": let it leave first with: mvmd --leave");
  if (present && present->token == sha256_hex(token.secret)) return ok();  // was carried out
  const std::filesystem::path folder = folder_of(config.state);
  std::string key;
  if (present) {
    MVM_ASSIGN(key, read_file(present->tls.key, kLargestFile));
  } else {
    MVM_ASSIGN(key, soap::make_private_key());
  }
  MVM_ASSIGN(const Membership member, wanted(config, broker, token));
  MVM_ASSIGN(const soap::JoinedHost joined, ask(member, token, key));
  MVM_TRY(make_folders(folder, 0700));
  MVM_TRY(write_membership(folder, member, key, joined));
  log::info("host.joined", {{"broker", member.broker}, {"host", member.name}});
  return ok();
}

Status leave(const DaemonConfig& config) {
  MVM_ASSIGN(const auto present, read_membership(config.state));
  if (!present)
    return Error(ErrorCode::kNotFound, config.state.string() + " is no joined host's state folder");
  std::error_code ignored;
  const std::filesystem::directory_iterator labs(config.state / "labs", ignored);
  if (labs != std::filesystem::directory_iterator())
    return Error(ErrorCode::kConflict, "labs are still here: at the broker, mvm host drain " + present->name +
                                           " and mvm host remove " + present->name + " first");
  return remove_tree(folder_of(config.state));
}

}  // namespace mvm::programs
