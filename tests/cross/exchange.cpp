// Writes a message with every type of item, and reads one with every bit compared: run on one architecture
// for what was written on another. `exchange write FILE`, `exchange read FILE`.
#include <mvm.h>

#include <array>
#include <bit>
#include <cstdio>
#include <cstring>
#include <limits>
#include <mvm.hpp>
#include <string>
#include <type_traits>
#include <vector>

namespace {

constexpr std::size_t kRows = 3;
constexpr std::size_t kColumns = 4;

template <class T>
std::vector<T> extremes() {
  using Limits = std::numeric_limits<T>;
  if constexpr (std::is_floating_point_v<T>) {
    using Bits = std::conditional_t<sizeof(T) == 4, std::uint32_t, std::uint64_t>;
    const T quiet = Limits::quiet_NaN();
    return {T(0),
            -T(0),
            T(1),
            T(-1.5),
            Limits::min(),
            Limits::max(),
            Limits::lowest(),
            Limits::denorm_min(),
            Limits::infinity(),
            -Limits::infinity(),
            quiet,
            std::bit_cast<T>(std::bit_cast<Bits>(quiet) | Bits{0x1234})};
  } else {
    return {T(0), T(1), Limits::min(), Limits::max(), static_cast<T>(0x0123'4567'89ab'cdefULL)};
  }
}

/// Every number type: each extreme on its own, then all of them as an array, then every other one, strided.
template <class T, class Step>
void each_number(Step& step) {
  const std::vector<T> values = extremes<T>();
  for (const T value : values) step.one(value);
  step.array(values);
  step.strided(values, 2);
}

template <class Step>
void walk(Step& step) {
  each_number<std::int8_t>(step);
  each_number<std::int16_t>(step);
  each_number<std::int32_t>(step);
  each_number<std::int64_t>(step);
  each_number<std::uint8_t>(step);
  each_number<std::uint16_t>(step);
  each_number<std::uint32_t>(step);
  each_number<std::uint64_t>(step);
  each_number<float>(step);
  each_number<double>(step);
  step.flag(true);
  step.flag(false);
  step.text("");
  step.text("h\xc3\xa9llo, neutral w\xc3\xb6rld");
  step.bytes({0x00, 0xff, 0x10, 0x80});
  step.column();
  step.record(3);
}

class Writer {
 public:
  explicit Writer(std::size_t room) : bytes_(room) { mvm_pack_init(&raw_, bytes_.data(), bytes_.size()); }

  void one(std::int8_t v) { mvm_pack_i8(&raw_, v); }
  void one(std::int16_t v) { mvm_pack_i16(&raw_, v); }
  void one(std::int32_t v) { mvm_pack_i32(&raw_, v); }
  void one(std::int64_t v) { mvm_pack_i64(&raw_, v); }
  void one(std::uint8_t v) { mvm_pack_u8(&raw_, v); }
  void one(std::uint16_t v) { mvm_pack_u16(&raw_, v); }
  void one(std::uint32_t v) { mvm_pack_u32(&raw_, v); }
  void one(std::uint64_t v) { mvm_pack_u64(&raw_, v); }
  void one(float v) { mvm_pack_f32(&raw_, v); }
  void one(double v) { mvm_pack_f64(&raw_, v); }
  template <class T>
  void array(const std::vector<T>& values) {
    mvm::internal::Packing<T>::pack(&raw_, values.data(), values.size(), 1);
  }
  template <class T>
  void strided(const std::vector<T>& values, std::ptrdiff_t stride) {
    mvm::internal::Packing<T>::pack(&raw_, values.data(), values.size() / 2, stride);
  }
  void flag(bool value) { mvm_pack_bool(&raw_, value ? 1 : 0); }
  void text(const std::string& text) { mvm_pack_string(&raw_, text.c_str()); }
  void bytes(const std::vector<unsigned char>& bytes) { mvm_pack_bytes(&raw_, bytes.data(), bytes.size()); }
  /// The last column of a matrix, from its last row up.
  void column() {
    std::array<double, kRows * kColumns> matrix{};
    for (std::size_t i = 0; i < matrix.size(); ++i) matrix[i] = static_cast<double>(i) / 3;
    mvm_pack_f64s_strided(&raw_, &matrix.back(), kRows, -static_cast<std::ptrdiff_t>(kColumns));
  }
  void record(int depth) {
    const std::int64_t place = mvm_pack_begin(&raw_);
    mvm_pack_string(&raw_, "depth");
    mvm_pack_i32(&raw_, depth);
    if (depth > 0) record(depth - 1);
    mvm_pack_end(&raw_, place);
  }
  [[nodiscard]] bool save(const char* path) const {
    std::FILE* file = raw_.status == MVM_OK ? std::fopen(path, "wb") : nullptr;
    if (file == nullptr) return false;
    const bool whole = std::fwrite(raw_.data, 1, raw_.size, file) == raw_.size;
    return std::fclose(file) == 0 && whole;
  }

 private:
  std::vector<unsigned char> bytes_;
  mvm_packer raw_{};
};

class Reader {
 public:
  explicit Reader(const std::vector<unsigned char>& bytes) : size_(bytes.size()) {
    mvm_unpack_init(&raw_, bytes.data(), bytes.size());
  }

  void one(std::int8_t v) { number(mvm_unpack_i8, v); }
  void one(std::int16_t v) { number(mvm_unpack_i16, v); }
  void one(std::int32_t v) { number(mvm_unpack_i32, v); }
  void one(std::int64_t v) { number(mvm_unpack_i64, v); }
  void one(std::uint8_t v) { number(mvm_unpack_u8, v); }
  void one(std::uint16_t v) { number(mvm_unpack_u16, v); }
  void one(std::uint32_t v) { number(mvm_unpack_u32, v); }
  void one(std::uint64_t v) { number(mvm_unpack_u64, v); }
  void one(float v) { number(mvm_unpack_f32, v); }
  void one(double v) { number(mvm_unpack_f64, v); }
  template <class T>
  void array(const std::vector<T>& values) {
    std::vector<T> found(values.size());
    const std::int64_t count = mvm::internal::Packing<T>::unpack(&raw_, found.data(), found.size(), 1);
    expect(count == static_cast<std::int64_t>(values.size()) &&
           same(found.data(), values.data(), values.size()));
  }
  template <class T>
  void strided(const std::vector<T>& values, std::ptrdiff_t stride) {
    // Written every second one, read into every third place.
    const std::size_t count = values.size() / 2;
    std::vector<T> found(3 * count, T(7));
    expect(mvm::internal::Packing<T>::unpack(&raw_, found.data(), count, 3) ==
           static_cast<std::int64_t>(count));
    const T untouched = T(7);
    for (std::size_t i = 0; i < found.size(); ++i) {
      const T& wanted = i % 3 == 0 ? values[i / 3 * static_cast<std::size_t>(stride)] : untouched;
      expect(same(&found[i], &wanted, 1));
    }
  }
  void flag(bool value) {
    int found = 2;
    expect(mvm_unpack_bool(&raw_, &found) == MVM_OK && found == (value ? 1 : 0));
  }
  void text(const std::string& text) {
    std::array<char, 100> found{};
    expect(mvm_unpack_string(&raw_, found.data(), found.size()) == static_cast<std::int64_t>(text.size()) &&
           text == found.data());
  }
  void bytes(const std::vector<unsigned char>& bytes) {
    std::vector<unsigned char> found(bytes.size());
    expect(mvm_unpack_bytes(&raw_, found.data(), found.size()) == static_cast<std::int64_t>(bytes.size()) &&
           found == bytes);
  }
  void column() {
    std::array<double, kRows> found{};
    expect(mvm_unpack_f64s(&raw_, found.data(), found.size()) == kRows);
    for (std::size_t i = 0; i < kRows; ++i)
      expect(found[i] == static_cast<double>((kRows - i) * kColumns - 1) / 3);
  }
  void record(int depth) { record(raw_, depth); }
  void end() { expect(raw_.status == MVM_OK && raw_.position == size_); }
  [[nodiscard]] unsigned wrong() const { return wrong_; }

 private:
  template <class T>
  static bool same(const T* a, const T* b, std::size_t count) {
    return std::memcmp(a, b, count * sizeof(T)) == 0;  // a NaN's bits and a zero's sign count too
  }
  template <class T>
  void number(int (*unpack)(mvm_unpacker*, T*), T wanted) {
    T found{};
    expect(unpack(&raw_, &found) == MVM_OK && same(&found, &wanted, 1));
  }
  void record(mvm_unpacker& from, int depth) {
    mvm_unpacker inside;
    std::array<char, 10> name{};
    std::int32_t found = -1;
    expect(mvm_unpack_nested(&from, &inside) == MVM_OK);
    expect(mvm_unpack_string(&inside, name.data(), name.size()) == 5 && std::string(name.data()) == "depth");
    expect(mvm_unpack_i32(&inside, &found) == MVM_OK && found == depth);
    if (depth > 0) record(inside, depth - 1);
    expect(mvm_unpack_skip(&inside) == MVM_EEND);
  }
  void expect(bool right) {
    ++checks_;
    if (right) return;
    ++wrong_;
    std::fprintf(stderr, "check %u is wrong: %s\n", checks_, mvm_strerror(raw_.status));
  }
  std::size_t size_;
  mvm_unpacker raw_{};
  unsigned checks_ = 0;
  unsigned wrong_ = 0;
};

std::vector<unsigned char> load(const char* path) {
  std::vector<unsigned char> bytes(1 << 16);
  std::FILE* file = std::fopen(path, "rb");
  bytes.resize(file == nullptr ? 0 : std::fread(bytes.data(), 1, bytes.size(), file));
  if (file != nullptr) std::fclose(file);
  return bytes;
}

}  // namespace

int main(int count, char** words) {
  const std::string verb = count == 3 ? words[1] : "";
  if (verb == "write") {
    Writer writer(1 << 16);
    walk(writer);
    return writer.save(words[2]) ? 0 : 1;
  }
  if (verb == "read") {
    const std::vector<unsigned char> bytes = load(words[2]);
    Reader reader(bytes);
    walk(reader);
    reader.end();
    return reader.wrong() == 0 ? 0 : 1;
  }
  std::fprintf(stderr, "usage: exchange write|read FILE\n");
  return 2;
}
