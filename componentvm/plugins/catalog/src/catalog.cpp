#include "catalog.h"

#include <algorithm>
#include <array>

#include "mvm/base/base64.h"
#include "mvm/base/file.h"
#include "mvm/base/json.h"
#include "mvm/rmix/native.h"

namespace mvm::plugins::catalog {
namespace {

using mvm::catalog::Assertion;
using mvm::catalog::Key;
using nlohmann::json;
using std::chrono::milliseconds;

constexpr std::string_view kOurs = "catalog.";
constexpr std::array kKnown{
    "catalog.servers", "catalog.listen",   "catalog.peers",         "catalog.token-file",
    "catalog.file",    "catalog.key-file", "catalog.tls-authority", "catalog.tls-certificate",
    "catalog.tls-key"};
constexpr std::uint64_t kMaxLimit = 1000;
constexpr std::size_t kMaxAnswer = 512U << 10U;

std::string setting(const kernel::NodeConfig& node, const std::string& name,
                    const std::string& otherwise = {}) {
  const auto found = node.settings.find(name);
  return found == node.settings.end() ? otherwise : found->second;
}

std::vector<std::string> split(const std::string& text) {
  std::vector<std::string> parts;
  for (std::size_t start = 0; start < text.size();) {
    const std::size_t end = std::min(text.find(',', start), text.size());
    parts.push_back(text.substr(start, end - start));
    start = end + 1;
  }
  return parts;
}

/// The kernel's own key, made where there is none.
Result<Key> key_from(const std::filesystem::path& file) {
  std::error_code error;
  if (!std::filesystem::exists(file, error)) {
    Key made = Key::make();
    MVM_TRY(write_file_durably(file, made.secret(), 0600));
    return made;
  }
  MVM_ASSIGN(const auto secret, read_file(file, 64));
  auto key = Key::from(secret);
  if (!key) return std::move(key).error().wrap("read the key " + file.string());
  return key;
}

Result<rmix::TlsIdentity> tls_of(const kernel::NodeConfig& node) {
  rmix::TlsIdentity tls;
  for (const auto& [name, field] :
       {std::pair{"catalog.tls-authority", &tls.authority},
        std::pair{"catalog.tls-certificate", &tls.certificate}, std::pair{"catalog.tls-key", &tls.key}})
    if (const std::string file = setting(node, name); !file.empty()) {
      MVM_ASSIGN(*field, read_file(file, 64U << 10U));
    }
  return tls;
}

json to_json(const Assertion& a) {
  return {{"uri", a.uri},
          {"name", a.name},
          {"value", base64(a.value)},
          {"type", a.type},
          {"party", mvm::catalog::party_text(a.party)},
          {"serial", a.serial},
          {"date_ms", a.date_ms},
          {"ttl_ms", a.ttl_ms},
          {"expires_ms", a.expires_ms}};
}

}  // namespace

Result<std::unique_ptr<Catalog>> Catalog::open(kernel::Kernel& kernel) {
  const auto& node = kernel.config();
  for (const auto& [name, value] : node.settings)
    if (name.starts_with(kOurs) && std::find(kKnown.begin(), kKnown.end(), name) == kKnown.end())
      return Error(ErrorCode::kInvalid, "setting " + name + ": the catalog knows no such setting");
  MVM_ASSIGN(auto key, key_from(setting(node, "catalog.key-file", node.run / "catalog.key")));
  std::unique_ptr<Catalog> catalog(new Catalog(kernel, std::move(key)));
  catalog->providers_.add(rmix::make_native_provider());
  MVM_TRY(catalog->start());
  return catalog;
}

Catalog::~Catalog() {
  client_.reset();
  rmix_.reset();
}

Status Catalog::start() {
  const auto& node = kernel_.config();
  mvm::catalog::ClientOptions options;
  MVM_ASSIGN(options.tls, tls_of(node));
  options.servers = split(setting(node, "catalog.servers"));
  if (const std::string endpoint = setting(node, "catalog.listen"); !endpoint.empty()) {
    MVM_ASSIGN(auto own, serve(endpoint, options.tls));
    options.servers.insert(options.servers.begin(), std::move(own));
  }
  if (options.servers.empty())
    return Error(ErrorCode::kInvalid, "the catalog needs a setting catalog.servers or catalog.listen");
  MVM_ASSIGN(client_, mvm::catalog::Client::open(std::move(options), clock_, providers_));
  return ok();
}

/// The address that the node's own client uses.
Result<std::string> Catalog::serve(const std::string& endpoint, const rmix::TlsIdentity& tls) {
  const auto& node = kernel_.config();
  mvm::catalog::ServerOptions options;
  options.tls = tls;
  options.file = setting(node, "catalog.file", node.run / "catalog.db");
  options.peers = split(setting(node, "catalog.peers"));
  if (const std::string file = setting(node, "catalog.token-file"); !file.empty()) {
    MVM_ASSIGN(options.token, read_file(file, 4096));
    while (!options.token.empty() && options.token.back() == '\n') options.token.pop_back();
  }
  MVM_ASSIGN(server_, mvm::catalog::Server::open(std::move(options), clock_, providers_));
  rmix_ = rmix::Server::create(providers_, {.tls = tls});
  MVM_TRY(rmix_->add(mvm::catalog::kService, server_->service()));
  MVM_ASSIGN(endpoint_, rmix_->listen(endpoint));
  return rmix_->reference(mvm::catalog::kService);
}

Status Catalog::offer() {
  const auto add = [this](const char* op, Result<Answer> (Catalog::*method)(Call&)) {
    return kernel_.handle(op, [this, method](Call& call) { return (this->*method)(call); });
  };
  MVM_TRY(add("catalog.say", &Catalog::say));
  MVM_TRY(add("catalog.query", &Catalog::query));
  MVM_TRY(add("catalog.resources", &Catalog::resources));
  return kernel_.handle("catalog.info", [this](Call&) -> Result<Answer> {
    return Answer{{{"party", mvm::catalog::party_text(key_.party())}, {"endpoint", endpoint_}}, {}, {}};
  });
}

Result<kernel::Answer> Catalog::say(Call& call) {
  mvm::catalog::Statement statement;
  MVM_ASSIGN(statement.uri, need_text(call.args, "uri", mvm::catalog::kMaxUri));
  MVM_ASSIGN(statement.name, need_text(call.args, "name", mvm::catalog::kMaxName));
  statement.type = text_or(call.args, "type", statement.type);
  const auto longest = static_cast<std::uint64_t>(mvm::catalog::kMaxLifeMs);
  const auto ttl = number_or(call.args, "ttl_ms", static_cast<std::uint64_t>(statement.ttl.count()));
  const auto life = number_or(call.args, "life_ms", static_cast<std::uint64_t>(statement.life.count()));
  if (ttl > longest || life > longest)
    return Error(ErrorCode::kInvalid, "ttl_ms, life_ms: expected at most 366 days");
  statement.ttl = milliseconds(ttl);
  statement.life = milliseconds(life);
  statement.withdrawn = flag_or(call.args, "withdrawn");
  statement.value = std::move(call.blob);
  MVM_ASSIGN(const auto said, client_->say(key_, statement));
  return Answer{
      {{"party", mvm::catalog::party_text(said.party)}, {"serial", said.serial}, {"sequence", said.sequence}},
      {},
      {}};
}

Result<kernel::Answer> Catalog::query(Call& call) {
  MVM_ASSIGN(const auto uri, need_text(call.args, "uri", mvm::catalog::kMaxUri));
  MVM_ASSIGN(const auto found, client_->query(uri, text_or(call.args, "name")));
  json list = json::array();
  std::size_t bytes = 0;
  for (const auto& assertion : found) {
    bytes += assertion.value.size() + 1024;
    if (bytes > kMaxAnswer)
      return Error(ErrorCode::kExhausted,
                   "the answer is longer than 512 KiB: ask for one characteristic by its name");
    list.push_back(to_json(assertion));
  }
  return Answer{{{"assertions", std::move(list)}}, {}, {}};
}

Result<kernel::Answer> Catalog::resources(Call& call) {
  const auto limit = std::clamp<std::uint64_t>(number_or(call.args, "limit", 100), 1, kMaxLimit / 4);
  MVM_ASSIGN(const auto found,
             client_->resources(text_or(call.args, "beginning"), text_or(call.args, "after"),
                                static_cast<std::size_t>(limit)));
  return Answer{{{"resources", found}}, {}, {}};
}

}  // namespace mvm::plugins::catalog
