#include "mvm/host/remote_host_agent.h"

#include <unistd.h>

#include <algorithm>
#include <cerrno>

#include "codec.h"
#include "mvm/base/frame.h"

namespace mvm::host {
namespace {

using nlohmann::json;
using std::chrono::milliseconds;

constexpr milliseconds kQuick{30'000};
constexpr milliseconds kSlow{180'000};
constexpr milliseconds kLongestPoll{25'000};
constexpr std::size_t kPiece = 256 << 10;

/// Our certificate says who we are.
const soap::Caller kNobody;

class RemoteHostAgent final : public HostAgent {
 public:
  RemoteHostAgent(soap::HostService& service, const BlobStore& blobs) : service_(service), blobs_(blobs) {}
  RemoteHostAgent(std::unique_ptr<soap::HostService> service, const BlobStore& blobs)
      : owned_(std::move(service)), service_(*owned_), blobs_(blobs) {}

  Result<HostInfo> describe() override {
    MVM_ASSIGN(const json answer, ask("describe", json::object(), kSlow));
    return host_info_from(answer);
  }
  Result<LabInfo> ensure_lab(const LabSpec& spec) override {
    MVM_ASSIGN(const json answer, ask("ensure_lab", to_json(spec), kSlow));
    return lab_info_from(answer);
  }
  Status destroy_lab(const std::string& lab) override { return tell("destroy_lab", {{"lab", lab}}, kSlow); }
  Result<NodeInfo> ensure_node(const NodeSpec& spec, milliseconds timeout) override {
    MVM_ASSIGN(const json answer, ask("ensure_node", to_json(spec), timeout));
    return node_info_from(answer);
  }
  Status destroy_node(const std::string& lab, const std::string& node) override {
    return tell("destroy_node", {{"lab", lab}, {"node", node}}, kSlow);
  }
  Status suspend_node(const std::string& lab, const std::string& node, bool suspend) override {
    return tell("suspend_node", {{"lab", lab}, {"node", node}, {"suspend", suspend}}, kSlow);
  }
  Result<CallReply> call(const std::string& lab, const std::string& node, const std::string& op,
                         const json& args, std::string blob, milliseconds timeout) override {
    const json request = {{"lab", lab}, {"node", node}, {"op", op}, {"args", args}};
    MVM_ASSIGN(soap::HostReply reply,
               service_.call(kNobody, "call", dump(request), std::move(blob), timeout));
    MVM_ASSIGN(json result, parse_json(reply.result));
    return CallReply{std::move(result), std::move(reply.blob)};
  }
  Status send_blob(const std::string& lab, const std::string& node, const std::string& digest) override {
    MVM_ASSIGN(const json has, ask("has_blob", {{"digest", digest}}, kQuick));
    if (!has.value("has", false)) MVM_TRY(upload(digest));
    return tell("send_blob", {{"lab", lab}, {"node", node}, {"digest", digest}}, kSlow);
  }
  Status fetch_blob(const std::string& lab, const std::string& node, const std::string& digest) override {
    if (blobs_.has(digest)) return ok();
    MVM_TRY(tell("fetch_blob", {{"lab", lab}, {"node", node}, {"digest", digest}}, kSlow));
    MVM_ASSIGN(BlobWriter writer, blobs_.write(digest));
    MVM_TRY(service_.get_blob(kNobody, digest, [&](std::string_view piece) { return writer.append(piece); }));
    MVM_TRY(writer.commit());
    return ok();
  }
  Status wire(const std::string& lab, const std::string& attempt, const DomainWiring& wiring) override {
    return tell("wire", {{"lab", lab}, {"attempt", attempt}, {"node", wiring.node}, {"steps", wiring.steps}},
                kSlow);
  }
  Status unwire(const std::string& lab, const std::string& attempt) override {
    return tell("unwire", {{"lab", lab}, {"attempt", attempt}}, kQuick);
  }
  Result<HostEvents> events(const std::string& epoch, std::uint64_t seq, milliseconds timeout) override {
    const json request = {{"epoch", epoch}, {"seq", seq}};
    MVM_ASSIGN(const soap::HostReply reply,
               service_.poll(kNobody, "events", dump(request), std::min(timeout, kLongestPoll)));
    MVM_ASSIGN(const json page, parse_json(reply.result));
    return host_events_from(page, reply.blob);
  }
  Result<Inventory> inventory() override {
    MVM_ASSIGN(const json answer, ask("inventory", json::object(), kQuick));
    return inventory_from(answer);
  }
  Result<std::string> console(const std::string& lab, const std::string& node,
                              std::uint64_t offset) override {
    const json request = {{"lab", lab}, {"node", node}, {"offset", offset}};
    MVM_ASSIGN(soap::HostReply reply, service_.call(kNobody, "console", dump(request), {}, kQuick));
    return std::move(reply.blob);
  }

 private:
  static std::string dump(const json& value) {
    return value.dump(-1, ' ', false, json::error_handler_t::replace);
  }
  Result<json> ask(const std::string& op, const json& args, milliseconds timeout) {
    MVM_ASSIGN(const soap::HostReply reply, service_.call(kNobody, op, dump(args), {}, timeout));
    return parse_json(reply.result);
  }
  Status tell(const std::string& op, const json& args, milliseconds timeout) {
    MVM_TRY(ask(op, args, timeout));
    return ok();
  }
  Status upload(const std::string& digest) {
    MVM_ASSIGN(const UniqueFd file, blobs_.read(digest));
    return service_.put_blob(kNobody, digest, [&]() -> Result<std::string> {
      std::string piece(kPiece, '\0');
      ssize_t got = 0;
      do got = ::read(file.get(), piece.data(), piece.size());
      while (got < 0 && errno == EINTR);
      if (got < 0) return Error::from_errno(errno, "read blob " + digest);
      piece.resize(static_cast<std::size_t>(got));
      return piece;
    });
  }

  const std::unique_ptr<soap::HostService> owned_;
  soap::HostService& service_;
  const BlobStore& blobs_;
};

}  // namespace

std::unique_ptr<HostAgent> make_remote_host_agent(soap::HostService& service, const BlobStore& blobs) {
  return std::make_unique<RemoteHostAgent>(service, blobs);
}

std::unique_ptr<HostAgent> make_remote_host_agent(std::unique_ptr<soap::HostService> service,
                                                  const BlobStore& blobs) {
  return std::make_unique<RemoteHostAgent>(std::move(service), blobs);
}

}  // namespace mvm::host
