#include "mvm/topologies/codecs.h"

#include <algorithm>

#include "mvm/base/number.h"
#include "values.h"

namespace mvm::topologies {
namespace {

constexpr int kMaxLevel = 19;
constexpr std::string_view kEncrypt = "encrypt";
const std::vector<std::string> kCiphers = {"aes-256-gcm", "chacha20-poly1305"};

std::optional<CodecFault> check_option(std::string_view name, std::string_view option) {
  const std::string found = std::string(name) + ": found '" + std::string(option) + "', expected ";
  if (name == "zstd") {
    const auto level = whole_number<int>(option);
    if (level && *level >= 1 && *level <= kMaxLevel) return std::nullopt;
    return CodecFault{"codec " + found + "a level of 1 to 19", {}};
  }
  if (name == kEncrypt) {
    if (std::find(kCiphers.begin(), kCiphers.end(), option) != kCiphers.end()) return std::nullopt;
    return CodecFault{"codec " + found + "one of " + join_names(kCiphers), near_miss(option, kCiphers)};
  }
  return CodecFault{"codec " + found + "no option", {}};
}

}  // namespace

const std::vector<std::string>& codec_names() {
  static const std::vector<std::string> kNames = {"checksum", std::string(kEncrypt), "neutral", "zstd"};
  return kNames;
}

std::string_view codec_name(std::string_view codec) { return codec.substr(0, codec.find(':')); }

std::optional<CodecFault> check_codec(std::string_view codec) {
  const auto name = codec_name(codec);
  if (std::find(codec_names().begin(), codec_names().end(), name) == codec_names().end())
    return CodecFault{
        "unknown codec '" + std::string(name) + "', expected one of " + join_names(codec_names()),
        near_miss(name, codec_names())};
  return name == codec ? std::nullopt : check_option(name, codec.substr(name.size() + 1));
}

std::optional<CodecFault> check_codecs(const std::vector<std::string>& codecs) {
  if (codecs.size() > kMaxCodecs)
    return CodecFault{
        "found " + std::to_string(codecs.size()) + " codecs, expected at most " + std::to_string(kMaxCodecs),
        {}};
  for (const std::string& codec : codecs) {
    if (auto fault = check_codec(codec)) return fault;
    const auto same = [&](const std::string& other) { return codec_name(other) == codec_name(codec); };
    if (std::count_if(codecs.begin(), codecs.end(), same) > 1)
      return CodecFault{"codec '" + std::string(codec_name(codec)) + "' occurs twice", {}};
  }
  return std::nullopt;
}

bool needs_key(const std::vector<std::string>& codecs) {
  return std::any_of(codecs.begin(), codecs.end(),
                     [](const std::string& codec) { return codec_name(codec) == kEncrypt; });
}

std::string codecs_text(const std::vector<std::string>& codecs) {
  std::string text;
  for (const std::string& codec : codecs) text += (text.empty() ? "" : " ") + codec;
  return text;
}

}  // namespace mvm::topologies
