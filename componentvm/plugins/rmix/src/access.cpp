#include "access.h"

#include <unistd.h>

#include <algorithm>

#include "mvm/base/digest.h"
#include "mvm/base/file.h"
#include "mvm/base/number.h"
#include "mvm/base/secret_file.h"

namespace mvm::plugins {
namespace {

constexpr std::size_t kMostText = 64U << 10U;
constexpr std::size_t kShortestToken = 16;

/// Takes as long whatever they have in common.
bool same(const std::string& left, const std::string& right) {
  if (left.size() != right.size()) return false;
  unsigned different = 0;
  for (std::size_t i = 0; i < left.size(); ++i)
    different |= static_cast<unsigned>(static_cast<unsigned char>(left[i] ^ right[i]));
  return different == 0;
}

template <class Take>
Status each(const std::string& text, char between, Take take) {
  for (std::size_t begin = 0; begin < text.size();) {
    const std::size_t end = std::min(text.find(between, begin), text.size());
    if (end > begin) MVM_TRY(take(text.substr(begin, end - begin)));
    begin = end + 1;
  }
  return ok();
}

}  // namespace

Result<Access> Access::read(const std::string& users, const std::filesystem::path& tokens) {
  Access access;
  access.users_ = {0, ::geteuid()};
  MVM_TRY(each(users, ',', [&](const std::string& word) -> Status {
    const auto uid = whole_number<std::uint32_t>(word);
    if (!uid)
      return Error(ErrorCode::kInvalid,
                   "rmix.users: found \"" + word + "\", expected user ids, apart by commas");
    access.users_.insert(*uid);
    return ok();
  }));
  const auto read = [&tokens] {
    return read_private_file(tokens, kMostText, {.lent = true, .linked = true});
  };
  auto text = read();
  if (!text && text.error().code() == ErrorCode::kNotFound) {
    MVM_TRY(write_file_durably(tokens, random_hex(32) + "\n", 0600));
    text = read();
  }
  if (!text) return std::move(text).error();
  MVM_TRY(each(*text, '\n', [&](const std::string& line) -> Status {
    if (line.size() < kShortestToken)
      return Error(ErrorCode::kInvalid,
                   tokens.string() + ": expected tokens of at least 16 characters, one a line");
    access.tokens_.push_back(line);
    return ok();
  }));
  if (access.tokens_.empty())
    return Error(ErrorCode::kInvalid, tokens.string() + ": expected one token at least");
  return access;
}

Status Access::known(const rmix::Caller& caller) const {
  if (caller.uid && users_.contains(*caller.uid)) return ok();
  if (!caller.certificate.empty()) return ok();
  bool found = false;
  for (const std::string& token : tokens_) found |= same(token, caller.token);
  if (found) return ok();
  return Error(ErrorCode::kRefused, "this kernel does not know the caller at " + caller.address +
                                        ": show a token of its rmix.tokens");
}

}  // namespace mvm::plugins
