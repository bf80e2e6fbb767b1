#include "messages.h"

#include <array>
#include <istream>
#include <ostream>

#include "listing.h"

namespace mvm::cli {
namespace {

Error too_long() { return {ErrorCode::kExhausted, "standard input: a message has at most 1 MiB"}; }

Result<std::optional<std::string>> read_line(std::istream& in) {
  std::string line;
  for (int c = in.get(); c != std::istream::traits_type::eof(); c = in.get()) {
    if (c == '\n') return std::optional(std::move(line));
    if (line.size() == kMostMessage) return too_long();
    line.push_back(static_cast<char>(c));
  }
  if (line.empty()) return std::optional<std::string>();
  return std::optional(std::move(line));
}

Result<std::optional<std::string>> read_sized(std::istream& in) {
  std::array<char, 4> head{};
  in.read(head.data(), head.size());
  if (in.gcount() == 0) return std::optional<std::string>();
  std::uint32_t size = 0;
  for (std::size_t i = head.size(); i-- > 0;) size = size << 8U | static_cast<unsigned char>(head[i]);
  if (in.gcount() == 4 && size > kMostMessage) return too_long();
  std::string message(in.gcount() == 4 ? size : 0, '\0');
  if (in.gcount() == 4) in.read(message.data(), static_cast<std::streamsize>(size));
  if (!in) return Error(ErrorCode::kInvalid, "standard input ends inside a message");
  return std::optional(std::move(message));
}

Result<std::optional<std::string>> read_all(std::istream& in) {
  if (in.eof()) return std::optional<std::string>();
  std::string message(kMostMessage + 1, '\0');
  in.read(message.data(), static_cast<std::streamsize>(message.size()));
  message.resize(static_cast<std::size_t>(in.gcount()));
  if (message.size() > kMostMessage) return too_long();
  return std::optional(std::move(message));
}

}  // namespace

Result<std::optional<std::string>> read_message(std::istream& in, Framing framing) {
  switch (framing) {
    case Framing::kSize:
      return read_sized(in);
    case Framing::kWhole:
      return read_all(in);
    case Framing::kLines:
      break;
  }
  return read_line(in);
}

void write_message(std::ostream& out, Framing framing, std::string_view piece, std::uint64_t size, bool first,
                   bool last) {
  if (framing == Framing::kSize && first)
    for (unsigned i = 0; i < 4; ++i) out.put(static_cast<char>(size >> (8 * i) & 0xffU));
  out << piece;
  if (framing == Framing::kLines && last) out.put('\n');
}

bool is_text(std::string_view bytes) {
  try {
    static_cast<void>(Json(bytes).dump());
    return true;
  } catch (const Json::exception&) {
    return false;
  }
}

Result<JobPart> job_part(const std::string& text, const std::string& expected) {
  const std::size_t dot = text.find('.');
  if (dot == std::string::npos || dot == 0 || dot + 1 == text.size())
    return Error(ErrorCode::kInvalid, "found " + text + ", expected " + expected);
  return JobPart{text.substr(0, dot), text.substr(dot + 1)};
}

}  // namespace mvm::cli
