// mvm plugin keygen, publish: making plug-in repositories. They need no daemon.

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <filesystem>
#include <optional>
#include <ostream>

#include "common.h"
#include "format.h"
#include "mvm/base/file.h"
#include "mvm/base/secret_file.h"
#include "mvm/build/archive.h"
#include "mvm/repository/publish.h"

namespace mvm::cli {
namespace {

namespace fs = std::filesystem;
using repository::Entry;
using repository::SigningKey;

constexpr std::size_t kKeyFile = 16 << 10;

void add_keygen(Grammar& grammar, CLI::App& noun) {
  auto file = std::make_shared<std::string>();
  CLI::App& verb = grammar.verb(
      noun, "keygen", "makes a key that signs plug-ins, and prints its public half; needs no daemon",
      {"mvm plugin keygen repository.key"}, [file](Session& session) -> Result<int> {
        MVM_ASSIGN(const SigningKey key, repository::make_signing_key());
        const UniqueFd fd(::open(file->c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600));
        if (!fd) return Error::from_errno(errno, "make " + *file);
        Status written = write_all(fd.get(), key.secret);
        if (written && ::fsync(fd.get()) != 0) written = Error::from_errno(errno, "fsync " + *file);
        if (!written) {
          ::unlink(file->c_str());
          return written.error();
        }
        session.out() << key.published << '\n';
        return kDone;
      });
  grammar.completes(verb.add_option("FILE", *file, "where the secret half goes; must not exist")->required(),
                    Completes::kFile);
}

struct PublishOptions {
  std::string folder;
  std::vector<std::string> files;
  std::string key;
  std::string plugin;   // of a source
  std::string command;  // likewise
};

Result<SigningKey> signing_key(const std::string& file) {
  MVM_ASSIGN(const std::string secret, read_private_file(file, kKeyFile, {.lent = true, .linked = true}));
  auto key = repository::read_signing_key(secret);
  if (!key) return std::move(key).error().wrap(file);
  return key;
}

/// A folder becomes an archive; an archive stays what it is.
Result<Entry> publish_source(repository::Publisher& publisher, const std::string& file,
                             const PublishOptions& options) {
  if (!fs::is_directory(file)) return publisher.add_source(file, options.plugin, options.command);
  MVM_ASSIGN(const fs::path work, make_temporary_folder(fs::temp_directory_path(), "mvm-publish-"));
  auto entry = [&]() -> Result<Entry> {
    const fs::path archive = work / "source.tar.zst";
    const UniqueFd fd(::open(archive.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600));
    if (!fd) return Error::from_errno(errno, "make " + archive.string());
    MVM_TRY(build::pack_directory(file, [&](std::string_view piece) { return write_all(fd.get(), piece); },
                                  {.bytes = repository::kFileLimit}));
    return publisher.add_source(archive, options.plugin, options.command);
  }();
  (void)remove_tree(work);
  return entry;
}

Result<int> publish(Session& session, const PublishOptions& options) {
  const bool source = !options.command.empty();
  if (source != !options.plugin.empty() || (source && options.files.size() != 1))
    return Error(ErrorCode::kInvalid,
                 "a source is one folder or archive, with --builds FILE.so and --command COMMAND");
  std::optional<SigningKey> key;
  if (!options.key.empty()) {
    MVM_ASSIGN(key, signing_key(options.key));
  }
  MVM_ASSIGN(auto publisher, repository::Publisher::open(options.folder, key ? &*key : nullptr));
  Listing listing("published-plugin", {{"PLUGIN", "plugin"},
                                       {"ARCH", "architecture"},
                                       {"FILE", "file"},
                                       {"SIZE", "size", true},
                                       {"KEY", "key"},
                                       {"", "sha256"}});
  for (const std::string& file : options.files) {
    auto entry = source ? publish_source(publisher, file, options) : publisher.add(file);
    if (!entry) return std::move(entry).error().wrap("publish " + file);
    listing.row({entry->plugin,
                 entry->architecture,
                 entry->file,
                 {human_bytes(entry->size), entry->size},
                 {entry->key.empty() ? "unsigned" : entry->key, entry->key},
                 entry->sha256});
  }
  session.print(listing);
  return kDone;
}

void add_publish(Grammar& grammar, CLI::App& noun) {
  auto options = std::make_shared<PublishOptions>();
  CLI::App& verb = grammar.verb(
      noun, "publish",
      "puts plug-ins into a repository, a folder that any web server can serve; needs no daemon",
      {"mvm plugin publish /srv/plugins hello.1.0.0.so --key repository.key",
       "mvm plugin publish /srv/plugins src/ --builds hello.1.0.0.so --command 'make hello.1.0.0.so'"},
      [options](Session& session) { return publish(session, *options); });
  grammar.completes(verb.add_option("DIR", options->folder, "the repository")->required(), Completes::kFile);
  grammar.completes(
      verb.add_option("FILES", options->files, "plug-ins, or the folder or archive of one's source")
          ->required(),
      Completes::kFile);
  grammar.completes(verb.add_option("--key", options->key, "sign with this key")->type_name("FILE"),
                    Completes::kFile);
  verb.add_option("--builds", options->plugin, "the plug-in that a source makes")->type_name("NAME.so");
  verb.add_option("--command", options->command, "how to make it, in the source's folder")
      ->type_name("COMMAND");
}

}  // namespace

void add_repository_verbs(Grammar& grammar) {
  CLI::App& plugin = grammar.noun("plugin", "plug-ins of kernels");
  add_keygen(grammar, plugin);
  add_publish(grammar, plugin);
}

}  // namespace mvm::cli
