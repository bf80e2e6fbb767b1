#include "mvm/queuevm/codec.h"

#include <algorithm>

#include "mvm/base/digest.h"

namespace mvm::queuevm {
namespace {

constexpr std::size_t kMaxName = 32;

bool is_name(std::string_view name) {
  const auto ordinary = [](char c) { return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '-'; };
  return !name.empty() && name.size() <= kMaxName && name[0] >= 'a' && name[0] <= 'z' &&
         std::all_of(name.begin(), name.end(), ordinary);
}

/// Never 0 for a chain.
std::uint16_t tag_of(const std::string& text) {
  const auto number = static_cast<std::uint16_t>(std::stoul(sha256_hex(text).substr(0, 4), nullptr, 16));
  return number == 0 ? 1 : number;
}

}  // namespace

Result<std::string> codec_key_from(std::string_view digits) {
  if (digits.empty()) return std::string();
  if (!is_sha256(digits))
    return Error(ErrorCode::kInvalid, "a link's key is not of 64 lower-case hexadecimal digits");
  const auto value = [](char c) { return c <= '9' ? c - '0' : c - 'a' + 10; };
  std::string key;
  for (std::size_t i = 0; i < digits.size(); i += 2)
    key += static_cast<char>(value(digits[i]) << 4 | value(digits[i + 1]));
  return key;
}

std::span<std::byte> ByteBuffer::reset(std::size_t size) {
  if (size > capacity_) {
    capacity_ = std::max(size, capacity_ + capacity_ / 2);
    room_ = std::make_unique_for_overwrite<std::byte[]>(capacity_);
  }
  size_ = size;
  return {room_.get(), size};
}

Status CodecRegistry::add(const std::string& name, const CodecFactory& factory) {
  if (!is_name(name) || !factory) return Error(ErrorCode::kInvalid, "no name of a codec: " + name);
  if (!factories_.try_emplace(name, factory).second)
    return Error(ErrorCode::kExists, "there is a codec " + name + " already");
  return ok();
}

std::vector<std::string> CodecRegistry::names() const {
  std::vector<std::string> names;
  for (const auto& [name, factory] : factories_) names.push_back(name);
  return names;
}

Result<std::unique_ptr<Codec>> CodecRegistry::make(std::string_view spec, std::string_view key) const {
  const std::size_t colon = std::min(spec.find(':'), spec.size());
  const auto found = factories_.find(spec.substr(0, colon));
  if (found == factories_.end()) {
    std::string known;
    for (const auto& [name, factory] : factories_) known += (known.empty() ? "" : ", ") + name;
    return Error(ErrorCode::kNotFound, "no codec '" + std::string(spec.substr(0, std::min(colon, kMaxName))) +
                                           "' here, expected one of " + known);
  }
  auto made = found->second({.option = spec.substr(std::min(colon + 1, spec.size())), .key = key});
  if (!made) return std::move(made).error().wrap("codec " + found->first);
  return made;
}

Result<CodecChain> CodecChain::make(const CodecRegistry& registry, std::span<const std::string> specs,
                                    std::string_view key) {
  if (specs.size() > kMostCodecs)
    return Error(ErrorCode::kInvalid, "a link has at most " + std::to_string(kMostCodecs) + " codecs");
  CodecChain chain;
  for (const std::string& spec : specs) {
    if (std::count(specs.begin(), specs.end(), spec) > 1)
      return Error(ErrorCode::kInvalid, "codec " + spec + " occurs twice");
    MVM_ASSIGN(auto codec, registry.make(spec, key));
    chain.overhead_ += codec->overhead();
    chain.codecs_.push_back(std::move(codec));
    chain.text_ += (chain.text_.empty() ? "" : " ") + spec;
  }
  if (!chain.empty()) chain.tag_ = tag_of(chain.text_);
  return chain;
}

Result<std::span<const std::byte>> CodecChain::encode(std::span<const std::byte> in,
                                                      const MessageHead& head) {
  std::span<const std::byte> now = in;
  std::size_t next = 0;
  for (auto& codec : codecs_) {
    MVM_TRY(codec->encode(now, head, buffers_[next]));
    now = buffers_[next].bytes();
    next ^= 1;
  }
  return now;
}

Result<std::span<const std::byte>> CodecChain::decode(std::span<const std::byte> in, const MessageHead& head,
                                                      std::size_t most) {
  std::span<const std::byte> now = in;
  std::size_t next = 0;
  std::size_t bound = longest(most);
  for (auto codec = codecs_.rbegin(); codec != codecs_.rend(); ++codec) {
    if (now.size() > bound) return Error(ErrorCode::kCorrupt, "an encoded message is too long");
    bound -= (*codec)->overhead();
    MVM_TRY((*codec)->decode(now, head, bound, buffers_[next]));
    now = buffers_[next].bytes();
    next ^= 1;
  }
  if (now.size() > most) return Error(ErrorCode::kCorrupt, "a decoded message is too long");
  return now;
}

}  // namespace mvm::queuevm
