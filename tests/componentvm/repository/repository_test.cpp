// Entries, signatures, downloads and the cache of plug-ins from elsewhere, against servers and files that do
// wrong.
#include <fcntl.h>
#include <gmock/gmock.h>
#include <signal.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include <atomic>
#include <nlohmann/json.hpp>

#include "componentvm/repository/web.h"
#include "mvm/base/digest.h"
#include "mvm/base/file.h"
#include "mvm/repository/fetcher.h"
#include "mvm/repository/publish.h"

namespace mvm::repository {
namespace {

using testing::HasSubstr;
using namespace std::chrono_literals;

namespace fs = std::filesystem;

/// The head of a shared object for a machine, and something behind it.
std::string shared_object(unsigned char machine = 62, const std::string& content = "bytes") {
  std::string text(
      "\x7f"
      "ELF\x02\x01\x01",
      7);
  text.resize(16, '\0');
  text += std::string("\x03\0", 2);
  text += static_cast<char>(machine);
  text += '\0';
  return text + content;
}

class RepositoryTest : public testing::Test {
 protected:
  RepositoryTest() : folder(*make_temporary_folder("/tmp", "mvm-repository-")), key(*make_signing_key()) {
    rules.keys = {key.published};
    rules.cache = folder / "cache";
    rules.architecture = "x86_64";
    rules.download.folders = {folder / "local"};
  }
  ~RepositoryTest() override { EXPECT_TRUE(remove_tree(folder)); }

  [[nodiscard]] Fetcher fetcher() const { return *Fetcher::open(rules); }
  /// What lies in the cache, but for its own folders.
  [[nodiscard]] std::vector<std::string> cached() const {
    std::vector<std::string> files;
    for (const auto& one : fs::recursive_directory_iterator(rules.cache))
      if (!one.is_directory()) files.push_back(one.path().lexically_relative(rules.cache));
    return files;
  }
  /// An entry of some bytes, signed.
  [[nodiscard]] Entry entry_for(const std::string& bytes, const std::string& plugin = "a.1.0.0.so") const {
    Entry entry{.plugin = plugin,
                .architecture = "x86_64",
                .file = "x86_64/" + plugin,
                .sha256 = sha256_hex(bytes),
                .size = bytes.size()};
    EXPECT_TRUE(sign(entry, key));
    return entry;
  }
  /// Publishes in <folder>/local; the file's URL.
  std::string publish(const std::string& name, const std::string& bytes) const {
    EXPECT_TRUE(make_folders(folder / "in"));
    EXPECT_TRUE(write_file_durably(folder / "in" / name, bytes));
    auto publisher = Publisher::open(folder / "local", &key);
    auto entry = publisher->add(folder / "in" / name);
    EXPECT_TRUE(entry) << entry.error().describe();
    return "file://" + (folder / "local" / entry->file).string();
  }
  /// Tries to load; the failure, after which nothing may be left.
  Error failure(const std::string& locator) const {
    auto located = fetcher().locate(locator);
    EXPECT_FALSE(located) << locator;
    EXPECT_THAT(cached(), testing::IsEmpty()) << locator;
    return located ? Error(ErrorCode::kFailed, "") : located.error();
  }

  fs::path folder;
  SigningKey key;
  LocatorRules rules;
};

TEST_F(RepositoryTest, AnIndexIsReadAsItWasWritten) {
  std::vector<Entry> entries{entry_for("x"), entry_for("y", "b.so")};
  entries.push_back({.plugin = "c.1.2.3.debug.so",
                     .architecture = kSource,
                     .file = "source/c",
                     .sha256 = sha256_hex("z"),
                     .size = 1,
                     .command = "make \"it\"\nnow"});
  const auto read = read_index(write_index(entries));
  ASSERT_TRUE(read) << read.error().describe();
  EXPECT_EQ(*read, entries);
}

TEST_F(RepositoryTest, AnEntryThatIsNotAllowedIsRefusedWithWhatIsWrong) {
  const nlohmann::json good = nlohmann::json::parse(write_entry(entry_for("x")));
  ASSERT_TRUE(read_entry(good.dump()));
  const std::vector<std::pair<const char*, nlohmann::json>> wrong{{"file", "../a.so"},
                                                                  {"file", "a/../../b.so"},
                                                                  {"file", "/etc/passwd"},
                                                                  {"file", "a//b"},
                                                                  {"file", "a%2e/b"},
                                                                  {"file", "a\\b"},
                                                                  {"file", ".hidden"},
                                                                  {"file", ""},
                                                                  {"file", "a?b"},
                                                                  {"plugin", "../a.so"},
                                                                  {"plugin", "a/b.so"},
                                                                  {"plugin", "a.txt"},
                                                                  {"plugin", ".so"},
                                                                  {"plugin", "..so"},
                                                                  {"plugin", 7},
                                                                  {"architecture", ""},
                                                                  {"architecture", "a b"},
                                                                  {"sha256", "abc"},
                                                                  {"sha256", std::string(64, 'G')},
                                                                  {"size", 0},
                                                                  {"size", -1},
                                                                  {"size", 1e300},
                                                                  {"size", kFileLimit + 1},
                                                                  {"size", "1"},
                                                                  {"command", "make"},
                                                                  {"key", "zz"},
                                                                  {"signature", "00"},
                                                                  {"plugin", std::string("a\0b.so", 6)},
                                                                  {"architecture", kSource}};
  for (const auto& [name, value] : wrong) {
    nlohmann::json bad = good;
    bad[name] = value;
    const auto read = read_entry(bad.dump());
    ASSERT_FALSE(read) << bad;
    EXPECT_EQ(read.error().code(), ErrorCode::kCorrupt) << bad;
    EXPECT_FALSE(
        read_index(nlohmann::json{{"format", "mvm-plugin-repository/1"}, {"plugins", {bad}}}.dump()));
  }
  EXPECT_FALSE(read_index("{}"));
  EXPECT_FALSE(read_index("[[[[[[[[[[[[[[[["));
  EXPECT_FALSE(read_index(std::string(100'000, '[')));
  EXPECT_FALSE(read_index(R"({"format":"mvm-plugin-repository/2","plugins":[]})"));
}

TEST_F(RepositoryTest, OnlyWhatATrustedKeySignedIsBelieved) {
  const Trust trust = *Trust::make({key.published}, false);
  const Entry good = entry_for("x");
  EXPECT_TRUE(trust.check(good));
  for (const auto change : {+[](Entry& e) { e.plugin = "a.2.0.0.so"; }, +[](Entry& e) { e.sha256[0] ^= 1; },
                            +[](Entry& e) { e.architecture = "s390x"; }, +[](Entry& e) { e.command = "rm"; },
                            +[](Entry& e) { e.signature[5] = e.signature[5] == '0' ? '1' : '0'; }}) {
    Entry bad = good;
    change(bad);
    EXPECT_EQ(trust.check(bad).error().code(), ErrorCode::kCorrupt);
  }
  Entry unsigned_one = good;
  unsigned_one.key = unsigned_one.signature = "";
  EXPECT_EQ(trust.check(unsigned_one).error().code(), ErrorCode::kRefused);
  Entry strangers = good;
  ASSERT_TRUE(sign(strangers, *make_signing_key()));
  EXPECT_EQ(trust.check(strangers).error().code(), ErrorCode::kRefused);
  const Trust open = *Trust::make({}, true);
  EXPECT_TRUE(open.check(unsigned_one));
  EXPECT_EQ(open.check(good).error().code(), ErrorCode::kRefused);  // signed, by nobody we know
  EXPECT_FALSE(Trust::make({"ed25519:12"}, true));
  EXPECT_FALSE(Trust::make({"rsa:" + std::string(64, '0')}, true));
  EXPECT_EQ(read_signing_key(key.secret)->published, key.published);
  EXPECT_FALSE(read_signing_key("-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n"));
}

TEST_F(RepositoryTest, AFileUrlIsLoadedFromAnAllowedFolderOnly) {
  const std::string bytes = shared_object();
  const std::string url = publish("a.1.2.3.so", bytes);
  EXPECT_TRUE(make_folders(folder / "other/x86_64"));
  for (const char* name : {"a.1.2.3.so", "a.1.2.3.so.json"})
    fs::copy_file(folder / "local/x86_64" / name, folder / "other/x86_64" / name);
  const std::string other = "file://" + (folder / "other/x86_64/a.1.2.3.so").string();
  const std::string digest = "#sha256=" + sha256_hex(bytes);
  EXPECT_EQ(failure(other).code(), ErrorCode::kRefused);
  const std::string local = "file://" + (folder / "local").string();
  EXPECT_EQ(failure(local + "/../other/x86_64/a.1.2.3.so").code(), ErrorCode::kInvalid);
  EXPECT_EQ(failure(local + "/%2e%2e/other/x86_64/a.1.2.3.so").code(), ErrorCode::kRefused);
  fs::create_directory_symlink(folder / "other/x86_64", folder / "local/link");
  EXPECT_EQ(failure(local + "/link/a.1.2.3.so").code(), ErrorCode::kRefused);
  fs::create_symlink("a.1.2.3.so", folder / "local/x86_64/b.so");
  rules.allow_unsigned = true;
  EXPECT_EQ(failure(local + "/x86_64/b.so" + digest).code(), ErrorCode::kRefused);
  ASSERT_EQ(::mkfifo((folder / "local/pipe.so").c_str(), 0600), 0);
  EXPECT_EQ(failure(local + "/pipe.so" + digest).code(), ErrorCode::kRefused);
  EXPECT_EQ(failure("file://localhost/x/a.so").code(), ErrorCode::kInvalid);
  EXPECT_EQ(failure("ftp://127.0.0.1/a.so").code(), ErrorCode::kInvalid);
  EXPECT_EQ(failure(url + "#md5=1").code(), ErrorCode::kInvalid);
  EXPECT_EQ(failure(url + "#sha256=" + sha256_hex("other")).code(), ErrorCode::kCorrupt);
  const auto located = fetcher().locate(url + digest);
  ASSERT_TRUE(located) << located.error().describe();
  EXPECT_EQ(located->wish, "a@1.2.3");
  const fs::path file = fetcher().cache().plugins() / located->folder / "a.1.2.3.so";
  EXPECT_EQ(*read_file(file, 1000), bytes);
  struct stat info {};
  ASSERT_EQ(::stat(file.c_str(), &info), 0);
  EXPECT_EQ(info.st_mode & 0777U, 0600U);
}

TEST_F(RepositoryTest, ServersThatDoWrongLeaveNothing) {
  const std::string bytes = shared_object();
  const Entry good = entry_for(bytes);
  std::atomic<int> redirects = 0;
  Web web([&](int fd, const std::string& path) {
    const bool entry = path.ends_with(".json");
    Entry said = good;
    if (path.starts_with("/digest/")) return Web::answer(fd, entry ? write_entry(good) : bytes + "!");
    if (path.starts_with("/signature/")) {
      said.sha256 = sha256_hex(bytes + "!");
      said.size = bytes.size() + 1;
      return Web::answer(fd, entry ? write_entry(said) : bytes + "!");
    }
    if (path.starts_with("/stranger/")) {
      EXPECT_TRUE(sign(said, *make_signing_key()));
      return Web::answer(fd, entry ? write_entry(said) : bytes);
    }
    if (path.starts_with("/lies/"))  // for another machine than it says
      return Web::answer(fd, entry ? write_entry(entry_for(shared_object(22))) : shared_object(22));
    if (path.starts_with("/none/")) {
      const std::string text = "#!/bin/sh\nrm -rf /# twenty bytes\n";
      return Web::answer(fd, entry ? write_entry(entry_for(text)) : text);
    }
    if (path.starts_with("/arch/")) {
      said.architecture = "s390x";
      EXPECT_TRUE(sign(said, key));
      return Web::answer(fd, entry ? write_entry(said) : bytes);
    }
    if (path.starts_with("/name/"))
      return Web::answer(fd, entry ? write_entry(entry_for(bytes, "b.so")) : bytes);
    if (path.starts_with("/cut/") && !entry) {
      Web::say(fd, "HTTP/1.1 200 OK\r\nContent-Length: " + std::to_string(bytes.size()) + "\r\n\r\nab");
      return;
    }
    if (path.starts_with("/long/") && !entry) {  // without an end, and without saying how long
      Web::say(fd, "HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n");
      while (Web::say(fd, std::string(1 << 16, 'x'))) {
      }
      return;
    }
    if (path.starts_with("/slow/") && !entry) {
      Web::say(fd, "HTTP/1.1 200 OK\r\nContent-Length: " + std::to_string(bytes.size()) + "\r\n\r\na");
      char end = 0;
      (void)::recv(fd, &end, 1, 0);  // until the client is gone
      return;
    }
    if (path.starts_with("/round/")) {
      ++redirects;
      return void(Web::say(fd, "HTTP/1.1 302 Found\r\nContent-Length: 0\r\nLocation: " + path + "\r\n\r\n"));
    }
    if (path.starts_with("/away/"))
      return void(
          Web::say(fd, "HTTP/1.1 302 Found\r\nContent-Length: 0\r\nLocation: file:///etc/passwd\r\n\r\n"));
    if (path.starts_with("/error/")) return Web::answer(fd, "", "500 Oh");
    if (path.starts_with("/other/")) return Web::answer(fd, "", "204 No Content");
    if (path.starts_with("/garbage/")) return Web::answer(fd, std::string(1000, '{'));
    if (path.starts_with("/gone/")) return Web::answer(fd, "", "404 Not Found");
    Web::answer(fd, entry ? write_entry(good) : bytes);
  });
  rules.download.time = 5s;
  const auto code = [&](const std::string& path) { return failure(web.url(path + "/a.1.0.0.so")).code(); };
  EXPECT_EQ(code("/digest"), ErrorCode::kExhausted);  // one byte more than it said
  EXPECT_EQ(code("/signature"), ErrorCode::kCorrupt);
  EXPECT_EQ(code("/stranger"), ErrorCode::kRefused);
  EXPECT_EQ(code("/lies"), ErrorCode::kUnsupported);
  EXPECT_EQ(code("/none"), ErrorCode::kCorrupt);
  EXPECT_EQ(code("/arch"), ErrorCode::kUnsupported);
  EXPECT_EQ(code("/name"), ErrorCode::kCorrupt);
  EXPECT_EQ(code("/cut"), ErrorCode::kUnavailable);
  EXPECT_EQ(code("/long"), ErrorCode::kExhausted);
  EXPECT_EQ(code("/round"), ErrorCode::kUnavailable);
  EXPECT_EQ(redirects, 4);
  EXPECT_EQ(code("/away"), ErrorCode::kInvalid);
  EXPECT_EQ(code("/error"), ErrorCode::kUnavailable);
  EXPECT_EQ(code("/other"), ErrorCode::kUnavailable);
  EXPECT_EQ(code("/garbage"), ErrorCode::kCorrupt);
  EXPECT_EQ(code("/gone"), ErrorCode::kNotFound);
  rules.download.time = 300ms;
  EXPECT_EQ(code("/slow"), ErrorCode::kTimeout);
  rules.download.time = 5s;
  EXPECT_EQ(failure("https://127.0.0.1:" + std::to_string(web.port) + "/a.1.0.0.so").code(),
            ErrorCode::kUnavailable);  // no TLS there
  EXPECT_EQ(failure(web.url("/a.1.0.0.debug.so")).code(), ErrorCode::kCorrupt);
  const auto located = fetcher().locate(web.url("/a.1.0.0.so"));
  EXPECT_TRUE(located) << located.error().describe();
}

TEST_F(RepositoryTest, AnIndexIsReadUpToItsLimit) {
  Web web([&](int fd, const std::string& path) {
    if (path.starts_with("/big/"))  // says that it has 1 GB
      return void(Web::say(fd, "HTTP/1.1 200 OK\r\nContent-Length: 1000000000\r\n\r\n"));
    Web::say(fd, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n");
    while (Web::say(fd, "10000\r\n" + std::string(0x10000, '[') + "\r\n")) {
    }
  });
  EXPECT_EQ(fetcher().index(web.url("/big")).error().code(), ErrorCode::kExhausted);
  EXPECT_EQ(fetcher().index(web.url("/endless")).error().code(), ErrorCode::kExhausted);
}

TEST_F(RepositoryTest, WhatNobodySignedNeedsItsDigestAndAKernelThatAllowsIt) {
  const std::string bytes = shared_object();
  ASSERT_TRUE(make_folders(folder / "local"));
  ASSERT_TRUE(write_file_durably(folder / "local/a.so", bytes));
  const std::string url = "file://" + (folder / "local/a.so").string();
  const std::string digest = "#sha256=" + sha256_hex(bytes);
  EXPECT_THAT(failure(url + digest).describe(), HasSubstr("not signed"));
  rules.allow_unsigned = true;
  EXPECT_THAT(failure(url).describe(), HasSubstr("#sha256="));
  EXPECT_EQ(failure(url + "#sha256=" + sha256_hex("else")).code(), ErrorCode::kCorrupt);
  const auto located = fetcher().locate(url + digest);
  ASSERT_TRUE(located) << located.error().describe();
  EXPECT_EQ(located->wish, "a");
  ASSERT_TRUE(fetcher().locate("cache:" + located->folder));
  rules.allow_unsigned = false;  // what was cached is judged by today's rules
  EXPECT_EQ(fetcher().locate("cache:" + located->folder).error().code(), ErrorCode::kRefused);
  EXPECT_EQ(fetcher().locate(url + digest).error().code(), ErrorCode::kNotFound);
}

TEST_F(RepositoryTest, WhatIsCachedIsNotAskedForAgainAndNotBelievedBlindly) {
  const std::string bytes = shared_object();
  std::atomic<int> asked = 0;
  Web web([&](int fd, const std::string& path) {
    ++asked;
    Web::answer(fd, path.ends_with(".json") ? write_entry(entry_for(bytes)) : bytes);
  });
  const std::string url = web.url("/a.1.0.0.so#sha256=") + sha256_hex(bytes);
  const auto located = fetcher().locate(url);
  ASSERT_TRUE(located) << located.error().describe();
  EXPECT_EQ(asked, 2);
  EXPECT_EQ(fetcher().locate(url)->folder, located->folder);
  EXPECT_EQ(asked, 2);
  const fs::path file = rules.cache / "plugins" / located->folder / "a.1.0.0.so";
  ASSERT_TRUE(write_file_durably(file, bytes + "changed"));
  ASSERT_TRUE(fetcher().locate(url));
  EXPECT_EQ(asked, 4);
  EXPECT_EQ(*read_file(file, 1000), bytes);
  ASSERT_TRUE(write_file_durably(file.parent_path() / "entry.json", "{}"));
  EXPECT_EQ(fetcher().locate("cache:" + located->folder).error().code(), ErrorCode::kCorrupt);
  EXPECT_THAT(cached(), testing::IsEmpty());
  EXPECT_EQ(fetcher().locate("cache:../../etc").error().code(), ErrorCode::kNotFound);
}

TEST_F(RepositoryTest, AWriterThatIsKilledLeavesNothingThatCouldBeLoaded) {
  const std::string bytes = shared_object();
  const Entry entry = entry_for(bytes);
  ASSERT_TRUE(PluginCache::open(rules.cache));
  for (const bool whole : {false, true}) {
    const pid_t child = ::fork();
    if (child == 0) {
      const auto cache = PluginCache::open(rules.cache);
      (void)cache->store(entry, [&](BlobWriter& writer) {
        (void)writer.append(whole ? bytes : bytes.substr(0, 5));
        ::raise(SIGKILL);
        return ok();
      });
      ::_exit(1);
    }
    int status = 0;
    ASSERT_EQ(::waitpid(child, &status, 0), child);
    ASSERT_TRUE(WIFSIGNALED(status));
    EXPECT_TRUE(fs::is_empty(rules.cache / "plugins"));
  }
  // A leftover folder and a committed blob without owner, as a death between two steps leaves them.
  ASSERT_TRUE(make_folders(rules.cache / "incoming/plugin-dead"));
  ASSERT_TRUE(BlobStore::open(rules.cache / "blobs")->put(bytes));
  const auto cache = PluginCache::open(rules.cache);
  EXPECT_TRUE(fs::is_empty(rules.cache / "incoming"));
  const auto stored = cache->store(entry, [&](BlobWriter& writer) { return writer.append(bytes); });
  ASSERT_TRUE(stored) << stored.error().describe();
  EXPECT_TRUE(cache->check(*stored, *Trust::make({key.published}, false)));
}

TEST_F(RepositoryTest, WhatWasNotUsedForLongestGoesButForWhatIsMapped) {
  rules.cache_bytes = 10'000;
  const auto load = [&](const std::string& name) {
    const auto located = fetcher().locate(publish(name, shared_object(62, std::string(3000, name[0]))));
    EXPECT_TRUE(located) << located.error().describe();
    return located ? located->folder : "";
  };
  const auto aged = [&](const std::string& cached_key, std::chrono::minutes age) {
    fs::last_write_time(rules.cache / "plugins" / cached_key, fs::file_time_type::clock::now() - age);
  };
  const auto there = [&](const std::string& cached_key) {
    return fetcher().locate("cache:" + cached_key).has_value();
  };
  const std::string a = load("a.1.0.0.so"), b = load("b.1.0.0.so");
  const auto cache = *PluginCache::open(rules.cache);
  ASSERT_TRUE(cache.note_built(std::string(64, 'a'), a));
  ASSERT_TRUE(cache.note_built(std::string(64, 'b'), b));
  const std::string c = load("c.1.0.0.so"), d = load("d.1.0.0.so");
  EXPECT_TRUE(there(a) && there(b) && there(c) && there(d));  // more than there may be, but all of it is new
  aged(a, 10min);
  aged(b, 20min);
  aged(c, 30min);
  aged(d, 40min);
  EXPECT_TRUE(there(d));  // that was a use
  // A kernel has the one that was not used for longest.
  UniqueFd mapped(::open((rules.cache / "plugins" / c / "c.1.0.0.so").c_str(), O_RDONLY | O_CLOEXEC));
  ASSERT_EQ(::flock(mapped.get(), LOCK_SH), 0);
  const std::string e = load("e.1.0.0.so");
  EXPECT_FALSE(fs::exists(rules.cache / "plugins" / b));
  EXPECT_FALSE(fs::exists(rules.cache / "plugins" / a));
  EXPECT_TRUE(there(c) && there(d) && there(e));
  EXPECT_FALSE(cache.built(std::string(64, 'a')) || cache.built(std::string(64, 'b')));
  EXPECT_TRUE(fs::is_empty(rules.cache / "incoming"));
  mapped.reset();
  aged(c, 30min);
  const std::string again = load("b.1.0.0.so");
  EXPECT_EQ(again, b);
  EXPECT_FALSE(there(c));
  EXPECT_TRUE(there(b) && there(d) && there(e));
}

TEST_F(RepositoryTest, ManyFetchTheSameAtOnce) {
  const std::string url = publish("a.1.0.0.so", shared_object(62, std::string(100'000, 'x')));
  std::vector<std::thread> threads;
  std::atomic<int> good = 0;
  for (int i = 0; i < 8; ++i)
    threads.emplace_back([&] {
      const auto located = fetcher().locate(url);
      EXPECT_TRUE(located) << located.error().describe();
      if (located) ++good;
    });
  for (std::thread& one : threads) one.join();
  EXPECT_EQ(good, 8);
  EXPECT_EQ(cached().size(), 2U);
}

TEST_F(RepositoryTest, PublishingReplacesWhatWasThereForTheSameMachine) {
  publish("a.1.0.0.so", shared_object());
  publish("a.1.0.0.so",
          shared_object(22, "for big iron"));  // an s390 that says 64 bits, little endian: another one
  publish("a.1.0.0.so", shared_object(62, "mended"));
  publish("b.so", shared_object());
  const auto entries = fetcher().index((folder / "local").string());
  ASSERT_TRUE(entries) << entries.error().describe();
  EXPECT_EQ(entries->size(), 3U);
  for (const Entry& entry : *entries) EXPECT_TRUE(fetcher().trust().check(entry));
  const auto publisher = Publisher::open(folder / "local", &key);
  ASSERT_TRUE(write_file_durably(folder / "in/c.so", "no shared object at all"));
  EXPECT_EQ(Publisher::open(folder / "local", &key)->add(folder / "in/c.so").error().code(),
            ErrorCode::kCorrupt);
  EXPECT_EQ(Publisher::open(folder / "local", &key)->add(folder / "in/absent.so").error().code(),
            ErrorCode::kNotFound);
  EXPECT_EQ(fetcher().index((folder / "local").string())->size(), 3U);
}

}  // namespace
}  // namespace mvm::repository
