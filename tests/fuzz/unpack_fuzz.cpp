// Any bytes as a packed message, unpacked in an order that the input chooses.

#include <mvm.h>

#include <array>
#include <cstdint>

#include "mvm/base/assert.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  if (size < 8) return 0;
  mvm_unpacker message;
  mvm_unpack_init(&message, data + 8, size - 8);
  std::array<char, 64> text{};
  std::array<double, 16> numbers{};
  std::array<std::uint16_t, 16> words{};
  std::int32_t number = 0;
  double real = 0;
  int truth = 0;
  mvm_unpacker inside;
  for (std::size_t i = 0; i < 8; ++i) {
    const std::int64_t length = mvm_unpack_length(&message);
    std::int64_t got = 0;
    switch (data[i] % 11U) {
      case 0:
        got = mvm_unpack_i32(&message, &number);
        break;
      case 1:
        got = mvm_unpack_f64(&message, &real);
        break;
      case 2:
        got = mvm_unpack_bool(&message, &truth);
        break;
      case 3:
        got = mvm_unpack_string(&message, text.data(), text.size());
        break;
      case 4:
        got = mvm_unpack_bytes(&message, text.data(), text.size());
        break;
      case 5:
        got = mvm_unpack_f64s(&message, numbers.data(), numbers.size());
        break;
      case 6:
        got = mvm_unpack_u16s(&message, words.data(), words.size());
        break;
      case 7:
        got = mvm_unpack_u16s_strided(&message, words.data(), words.size() / 2, 2);
        break;
      case 8:
        if (mvm_unpack_nested(&message, &inside) == MVM_OK) message = inside;
        got = -1;
        break;
      case 9:
        mvm_unpack_skip(&message);
        got = -1;
        break;
      default:
        got = mvm_unpack_i8s(&message, reinterpret_cast<std::int8_t*>(text.data()), text.size());
    }
    MVM_ASSERT(message.position <= message.size);
    if (data[i] % 11U >= 3 && got >= 0) MVM_ASSERT(got == length);
  }
  return 0;
}
