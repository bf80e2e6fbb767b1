#include "mvm/base/host_port.h"

#include <gtest/gtest.h>

namespace mvm {
namespace {

std::string parts(std::string_view text, std::optional<std::uint16_t> otherwise = {}) {
  const auto read = read_host_port(text, otherwise);
  return read ? read->host + " " + std::to_string(read->port) : "none";
}

TEST(HostPort, TheLastColonIsThePorts) {
  EXPECT_EQ(parts("127.0.0.1:7780"), "127.0.0.1 7780");
  EXPECT_EQ(parts("host.example:0"), "host.example 0");
  EXPECT_EQ(parts("::1:7780"), "::1 7780");
  EXPECT_EQ(parts("[::1]:65535"), "::1 65535");
  EXPECT_EQ(parts("[fe80::2%eth0]:1"), "fe80::2%eth0 1");
}

TEST(HostPort, WithoutAPortItIsAnother) {
  EXPECT_EQ(parts("host", 7780), "host 7780");
  EXPECT_EQ(parts("[::1]", 7780), "::1 7780");
  EXPECT_EQ(parts("host:1", 7780), "host 1");
  EXPECT_EQ(parts("host:", 7780), "none");
  EXPECT_EQ(parts("host"), "none");
  EXPECT_EQ(parts("[::1]"), "none");
}

TEST(HostPort, IsWrittenAsItIsRead) {
  for (const char* text : {"127.0.0.1:7780", "host.example:0", "[::1]:65535", "[fe80::2%eth0]:1"})
    EXPECT_EQ(read_host_port(text).value_or(HostPort()).text(), text);
  EXPECT_EQ(read_host_port("::1:7780").value_or(HostPort()).text(), "[::1]:7780");
}

TEST(HostPort, OthersAreNone) {
  for (const char* text :
       {"", ":", ":80", "[]:80", "[", "]", "[:80", "[::1:80", "[::1]80", "[::1]x:80", "host:", "host:65536",
        "host:-1", "host: 80", "host:80 ", "host:http", "[::1]:", "[]"})
    EXPECT_EQ(parts(text), "none") << text;
}

}  // namespace
}  // namespace mvm
