#include "mvm/soap/identity.h"

#include <openssl/crypto.h>

#include <algorithm>
#include <mutex>
#include <nlohmann/json.hpp>
#include <shared_mutex>
#include <vector>

#include "mvm/base/digest.h"
#include "mvm/base/file.h"
#include "mvm/base/frame.h"
#include "mvm/base/secret_file.h"

namespace mvm::soap {
namespace {

constexpr std::size_t kSecretBytes = 32;
constexpr std::size_t kLargestFile = 4096;

bool plain_name(const std::string& text) {
  return text.size() <= 64 && std::all_of(text.begin(), text.end(), [](unsigned char c) {
           return std::isalnum(c) != 0 || c == '-' || c == '_' || c == '.' || c == '@';
         });
}

Status check_caller(const Caller& caller) {
  static const std::vector<std::string> roles{"admin", "user", "lab", "host"};
  if (caller.user.empty() || !plain_name(caller.user))
    return Error(ErrorCode::kInvalid, "\"" + caller.user + "\" is no user name");
  if (std::find(roles.begin(), roles.end(), caller.role) == roles.end())
    return Error(ErrorCode::kInvalid, "\"" + caller.role + "\" is no role: admin, user, lab, host");
  if (!plain_name(caller.lab) || (caller.role == "lab" && caller.lab.empty()))
    return Error(ErrorCode::kInvalid, "a token of role lab needs the lab it reaches");
  return ok();
}

bool is_secret(std::string_view text) { return is_sha256(text); }  // the same alphabet and length

std::string text_of(const nlohmann::json& object, const char* name) {
  const auto found = object.find(name);
  return found != object.end() && found->is_string() ? found->get<std::string>() : std::string();
}

}  // namespace

Result<Token> create_token_file(const std::filesystem::path& path, const Caller& caller) {
  MVM_TRY(check_caller(caller));
  std::error_code ignored;
  if (std::filesystem::exists(std::filesystem::symlink_status(path, ignored)))
    return Error(ErrorCode::kExists, path.string() + " exists already");
  Token token{.secret = random_hex(kSecretBytes), .caller = caller};
  const nlohmann::json content = {
      {"token", token.secret}, {"user", caller.user}, {"role", caller.role}, {"lab", caller.lab}};
  MVM_TRY(write_file_durably(path, content.dump(2) + "\n", 0600));
  return token;
}

Result<Token> read_token_file(const std::filesystem::path& path) {
  auto text = read_private_file(path, kLargestFile, {.lent = true});
  if (!text) return std::move(text).error().wrap("token file");
  auto content = parse_json(*text, 4);
  if (!content || !content->is_object())
    return Error(ErrorCode::kCorrupt, "token file " + path.string() + " is not a JSON object");
  Token token{.secret = text_of(*content, "token"),
              .caller = {.user = text_of(*content, "user"),
                         .role = text_of(*content, "role"),
                         .lab = text_of(*content, "lab")}};
  if (!is_secret(token.secret))
    return Error(ErrorCode::kCorrupt, "token file " + path.string() + " holds no token");
  if (Status good = check_caller(token.caller); !good)
    return std::move(good).error().wrap("token file " + path.string());
  return token;
}

struct Identity::State {
  struct Entry {
    std::string digest;  ///< of the secret: the secret itself is not kept
    Caller caller;
    bool from_file = false;
  };
  mutable std::shared_mutex mutex;
  std::vector<Entry> entries;  ///< sorted by digest
  void insert(const Token& token, bool from_file) {
    Entry entry{sha256_hex(token.secret), token.caller, from_file};
    const auto at = find(entry.digest);
    if (at != entries.end() && at->digest == entry.digest) {
      *at = std::move(entry);
    } else {
      entries.insert(at, std::move(entry));
    }
  }
  std::vector<Entry>::iterator find(const std::string& digest) {
    return std::lower_bound(entries.begin(), entries.end(), digest,
                            [](const Entry& entry, const std::string& text) { return entry.digest < text; });
  }
};

Identity::Identity() : state_(std::make_unique<State>()) {}
Identity::~Identity() = default;

Result<std::size_t> Identity::load(const std::filesystem::path& folder) {
  std::vector<Token> tokens;
  std::error_code error;
  for (std::filesystem::directory_iterator file(folder, error), end; !error && file != end;
       file.increment(error)) {
    if (file->path().extension() != ".token") continue;
    MVM_ASSIGN(Token token, read_token_file(file->path()));
    tokens.push_back(std::move(token));
  }
  if (error) return Error(ErrorCode::kIo, "read tokens in " + folder.string() + ": " + error.message());
  const std::unique_lock lock(state_->mutex);
  std::erase_if(state_->entries, [](const State::Entry& entry) { return entry.from_file; });
  for (const Token& token : tokens) state_->insert(token, true);
  return tokens.size();
}

void Identity::add(const Token& token) {
  const std::unique_lock lock(state_->mutex);
  state_->insert(token, false);
}

Token Identity::issue(const Caller& caller) {
  Token token{.secret = random_hex(kSecretBytes), .caller = caller};
  add(token);
  return token;
}

void Identity::revoke_lab(const std::string& lab) {
  const std::unique_lock lock(state_->mutex);
  std::erase_if(state_->entries, [&](const State::Entry& entry) { return entry.caller.lab == lab; });
}

void Identity::revoke(std::string_view secret) {
  const std::string digest = sha256_hex(secret);
  const std::unique_lock lock(state_->mutex);
  std::erase_if(state_->entries, [&](const State::Entry& entry) { return entry.digest == digest; });
}

Result<Caller> Identity::authenticate(std::string_view secret) const {
  // What is compared are digests, whose order tells nothing of the secret; the last step takes constant time.
  const std::string digest = sha256_hex(secret.substr(0, 256));
  const std::shared_lock lock(state_->mutex);
  const auto at = state_->find(digest);
  if (at == state_->entries.end() || CRYPTO_memcmp(at->digest.data(), digest.data(), digest.size()) != 0)
    return Error(ErrorCode::kRefused, "this token is not known here");
  return at->caller;
}

}  // namespace mvm::soap
