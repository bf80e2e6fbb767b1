// The Host service on top of a HostAgent: what remote_host_agent.cpp asks.

#include <unistd.h>

#include <cerrno>
#include <functional>
#include <map>

#include "codec.h"
#include "mvm/base/frame.h"
#include "mvm/host/remote_host_agent.h"

namespace mvm::host {
namespace {

using nlohmann::json;
using std::chrono::milliseconds;

constexpr std::size_t kPiece = 256 << 10;

class AgentService final : public soap::HostService {
 public:
  AgentService(HostAgent& agent, const BlobStore& blobs, std::string broker)
      : agent_(agent), blobs_(blobs), broker_(std::move(broker)) {}

  Result<soap::HostReply> call(const soap::Caller& caller, const std::string& op,
                               const std::string& arguments, std::string blob,
                               milliseconds timeout) override {
    MVM_TRY(admit(caller));
    MVM_ASSIGN(const json args, parse_json(arguments));
    try {
      return answer(op, args, std::move(blob), timeout);
    } catch (const json::exception& problem) {
      return Error(ErrorCode::kInvalid, op + ": " + problem.what());
    }
  }

  Result<soap::HostReply> poll(const soap::Caller& caller, const std::string& op,
                               const std::string& arguments, milliseconds wait) override {
    MVM_TRY(admit(caller));
    MVM_ASSIGN(const json args, parse_json(arguments));
    if (op != "events") return Error(ErrorCode::kUnsupported, "unknown poll " + op);
    MVM_ASSIGN(const HostEvents page,
               agent_.events(args.value("epoch", ""), args.value("seq", std::uint64_t{0}), wait));
    soap::HostReply reply;
    reply.result = to_json(page, reply.blob).dump(-1, ' ', false, json::error_handler_t::replace);
    return reply;
  }

  Status put_blob(const soap::Caller& caller, const std::string& digest,
                  const soap::PieceReader& reader) override {
    MVM_TRY(admit(caller));
    MVM_ASSIGN(BlobWriter writer, blobs_.write(digest));
    for (;;) {
      MVM_ASSIGN(const std::string piece, reader());
      if (piece.empty()) break;
      MVM_TRY(writer.append(piece));
    }
    MVM_TRY(writer.commit());
    return ok();
  }

  Status get_blob(const soap::Caller& caller, const std::string& digest,
                  const soap::PieceWriter& writer) override {
    MVM_TRY(admit(caller));
    MVM_ASSIGN(const UniqueFd file, blobs_.read(digest));
    std::string piece(kPiece, '\0');
    for (;;) {
      const ssize_t got = ::read(file.get(), piece.data(), piece.size());
      if (got < 0 && errno == EINTR) continue;
      if (got < 0) return Error::from_errno(errno, "read blob " + digest);
      if (got == 0) return ok();
      MVM_TRY(writer(std::string_view(piece).substr(0, static_cast<std::size_t>(got))));
    }
  }

 private:
  [[nodiscard]] Status admit(const soap::Caller& caller) const {
    if (caller.user == broker_) return ok();
    return Error(ErrorCode::kRefused, "this host serves the broker " + broker_ + ", not " + caller.user);
  }

  static Result<soap::HostReply> done(const Status& status) {
    if (!status) return status.error();
    return soap::HostReply{};
  }
  template <class T>
  static Result<soap::HostReply> done(const Result<T>& result) {
    if (!result) return result.error();
    return soap::HostReply{to_json(*result).dump(-1, ' ', false, json::error_handler_t::replace), {}};
  }

  Result<soap::HostReply> answer(const std::string& op, const json& args, std::string blob,
                                 milliseconds timeout) {
    const auto text = [&](const char* name) { return args.at(name).get<std::string>(); };
    if (op == "describe") return done(agent_.describe());
    if (op == "inventory") return done(agent_.inventory());
    if (op == "ensure_lab") {
      MVM_ASSIGN(const LabSpec spec, lab_spec_from(args));
      return done(agent_.ensure_lab(spec));
    }
    if (op == "destroy_lab") return done(agent_.destroy_lab(text("lab")));
    if (op == "ensure_node") {
      MVM_ASSIGN(const NodeSpec spec, node_spec_from(args));
      return done(agent_.ensure_node(spec, timeout));
    }
    if (op == "destroy_node") return done(agent_.destroy_node(text("lab"), text("node")));
    if (op == "suspend_node")
      return done(agent_.suspend_node(text("lab"), text("node"), args.at("suspend").get<bool>()));
    if (op == "call") {
      MVM_ASSIGN(CallReply reply, agent_.call(text("lab"), text("node"), text("op"), args.at("args"),
                                              std::move(blob), timeout));
      return soap::HostReply{reply.result.dump(-1, ' ', false, json::error_handler_t::replace),
                             std::move(reply.blob)};
    }
    if (op == "has_blob") return soap::HostReply{json{{"has", blobs_.has(text("digest"))}}.dump(), {}};
    if (op == "send_blob") return done(agent_.send_blob(text("lab"), text("node"), text("digest")));
    if (op == "fetch_blob") return done(agent_.fetch_blob(text("lab"), text("node"), text("digest")));
    if (op == "wire")
      return done(agent_.wire(text("lab"), text("attempt"), {text("node"), args.at("steps")}));
    if (op == "unwire") return done(agent_.unwire(text("lab"), text("attempt")));
    if (op == "console") {
      MVM_ASSIGN(std::string bytes,
                 agent_.console(text("lab"), text("node"), args.at("offset").get<std::uint64_t>()));
      return soap::HostReply{"{}", std::move(bytes)};
    }
    return Error(ErrorCode::kUnsupported, "unknown operation " + op);
  }

  HostAgent& agent_;
  const BlobStore& blobs_;
  const std::string broker_;
};

}  // namespace

std::unique_ptr<soap::HostService> make_host_service(HostAgent& agent, const BlobStore& blobs,
                                                     std::string broker) {
  return std::make_unique<AgentService>(agent, blobs, std::move(broker));
}

}  // namespace mvm::host
