#include "sources.h"

#include <array>
#include <cstdio>

namespace mvm::broker {
namespace {

constexpr std::size_t kBlock = 512;
constexpr std::size_t kLargestFile = 16U << 20U;

void octal(std::string& header, std::size_t at, std::size_t width, std::uint64_t value) {
  std::string digits;
  for (std::size_t i = 0; i + 1 < width; ++i, value /= 8) digits.insert(digits.begin(), static_cast<char>('0' + value % 8));
  header.replace(at, width - 1, digits);
}

}  // namespace

Status TarWriter::add(const std::string& name, std::string_view content, bool executable) {
  if (name.empty() || name.size() > 99 || name.front() == '/' || name.find("..") != std::string::npos ||
      name.find('\0') != std::string::npos)
    return Error(ErrorCode::kInvalid, "source file name: found '" + name + "', expected a relative name of 1 to 99 bytes");
  std::string header(kBlock, '\0');
  header.replace(0, name.size(), name);
  octal(header, 100, 8, executable ? 0755 : 0644);
  octal(header, 108, 8, 0);
  octal(header, 116, 8, 0);
  octal(header, 124, 12, content.size());
  octal(header, 136, 12, 0);
  header.replace(148, 8, 8, ' ');
  header[156] = '0';
  header.replace(257, 5, "ustar");
  header.replace(263, 2, "00");
  std::uint64_t sum = 0;
  for (const char c : header) sum += static_cast<unsigned char>(c);
  octal(header, 148, 7, sum);
  bytes_ += header;
  bytes_ += content;
  bytes_.resize((bytes_.size() + kBlock - 1) / kBlock * kBlock, '\0');
  return ok();
}

std::string TarWriter::finish() {
  bytes_.append(2 * kBlock, '\0');
  return std::move(bytes_);
}

Result<std::string> source_tree(const BlobStore& blobs, const topologies::Program& program) {
  using Kind = topologies::Source::Kind;
  if (program.sources.empty()) return std::string();
  const auto& first = program.sources.front();
  if (program.sources.size() == 1 && first.kind == Kind::kDigest && !first.file) {
    if (!blobs.has(first.digest)) return Error(ErrorCode::kNotFound, "the source of role " + program.role + " is not in the store");
    return first.digest;
  }
  TarWriter tar;
  for (const auto& source : program.sources) {
    if (source.kind == Kind::kPath)
      return Error(ErrorCode::kInvalid, "the source of role " + program.role + " is a path, expected a digest");
    if (source.kind == Kind::kInline) {
      MVM_TRY(tar.add(source.name, source.text));
      continue;
    }
    if (!source.file)
      return Error(ErrorCode::kUnsupported,
                   "role " + program.role + ": an archive can be its only source; pack several into one folder");
    MVM_ASSIGN(const auto content, blobs.read_whole(source.digest, kLargestFile));
    MVM_TRY(tar.add(source.name, content));
  }
  return blobs.put(tar.finish());
}

}  // namespace mvm::broker
