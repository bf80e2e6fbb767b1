// What comes from other kernels, after and before they have proved who they are: joins, sealed frames,
// events, statuses, members, commands.

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <string_view>

#include "mvm/dvm/log.h"
#include "mvm/dvm/status.h"
#include "mvm/dvm/wire.h"

using namespace mvm::dvm;  // NOLINT(google-build-using-namespace)

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  if (size == 0) return 0;
  const std::string_view bytes(reinterpret_cast<const char*>(data) + 1, size - 1);
  switch (data[0] % 4) {
    case 0:
      (void)read_join_datagram(bytes, "secret");
      (void)Targets::read(bytes);
      break;
    case 1: {
      mvm::FrameDecoder decoder;
      decoder.feed(bytes);
      Opener opener("key");
      for (auto frame = decoder.next(); frame && *frame; frame = decoder.next())
        if (!opener.open(**frame)) break;
      break;
    }
    case 2: {  // events, one a line
      Record record;
      record.status.vm = "lab";
      std::string_view rest = bytes;
      std::uint64_t count = 0;
      while (!rest.empty()) {
        const std::size_t end = std::min(rest.find('\n'), rest.size());
        record.apply(rest.substr(0, end));
        ++count;
        rest.remove_prefix(std::min(end + 1, rest.size()));
      }
      if (record.status.number != count) __builtin_trap();
      Record again;
      if (!again.restore(record.snapshot()) || again.snapshot() != record.snapshot()) __builtin_trap();
      break;
    }
    default:
      if (auto parsed = mvm::parse_json(bytes)) {
        if (auto status = status_from(*parsed)) (void)text_of(to_json(*status));
        (void)member_from(*parsed);
        (void)command_from(*parsed);
      }
  }
  return 0;
}
