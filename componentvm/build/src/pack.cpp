#include <dirent.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <memory>
#include <vector>

#include "entry_path.h"
#include "handles.h"
#include "mvm/build/archive.h"

namespace mvm::build {
namespace {

namespace fs = std::filesystem;

struct CloseDir {
  void operator()(DIR* dir) const { ::closedir(dir); }
};

/// A pack under way: libarchive calls back with bytes, we keep the sink's own error.
struct Output {
  const ArchiveSink& sink;
  Status status = ok();
};

la_ssize_t write_to_sink(archive* handle, void* data, const void* bytes, std::size_t length) {
  auto* output = static_cast<Output*>(data);
  output->status = output->sink({static_cast<const char*>(bytes), length});
  if (output->status) return static_cast<la_ssize_t>(length);
  ::archive_set_error(handle, EIO, "%s", "the sink failed");
  return -1;
}

class Packer {
 public:
  Packer(archive* handle, Output& output, const ArchiveLimits& limits, bool refuse_links_out)
      : archive_(handle), output_(output), limits_(limits), refuse_links_out_(refuse_links_out) {}

  Status folder(UniqueFd fd, const std::string& path, std::size_t depth) {
    if (depth > limits_.depth)
      return Error(ErrorCode::kExhausted,
                   "more than " + std::to_string(limits_.depth) + " folders deep: " + path);
    MVM_ASSIGN(const std::vector<std::string> names, sorted_names(fd.get(), path));
    for (const std::string& name : names) {
      const std::string full = path.empty() ? name : path + "/" + name;
      if (full.size() > limits_.name)
        return Error(ErrorCode::kExhausted,
                     "a path of " + std::to_string(full.size()) + " bytes: " + full.substr(0, 120));
      MVM_TRY(item(fd.get(), name, full, depth));
    }
    return ok();
  }

  [[nodiscard]] const ArchiveContent& content() const { return content_; }
  Status text(const std::string& name, std::string_view bytes) {
    MVM_TRY(header(name, AE_IFREG, 0644, bytes.size()));
    return data(bytes);
  }

 private:
  Error broken() const {
    return output_.status ? Error(ErrorCode::kIo, "write the archive: " + reason(archive_))
                          : output_.status.error();
  }

  static Result<std::vector<std::string>> sorted_names(int fd, const std::string& path) {
    // A descriptor of its own: closing the stream closes it.
    UniqueFd again(::openat(fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC));
    const std::unique_ptr<DIR, CloseDir> dir(again ? ::fdopendir(again.get()) : nullptr);
    if (!dir) return Error::from_errno(errno, "read folder " + path);
    (void)again.release();
    std::vector<std::string> names;
    while (const dirent* entry = ::readdir(dir.get())) {
      const std::string_view name = entry->d_name;
      if (name != "." && name != "..") names.emplace_back(name);
    }
    std::sort(names.begin(), names.end());
    return names;
  }

  Status item(int parent, const std::string& name, const std::string& path, std::size_t depth) {
    struct stat info {};
    if (::fstatat(parent, name.c_str(), &info, AT_SYMLINK_NOFOLLOW) != 0)
      return errno == ENOENT ? ok() : Status(Error::from_errno(errno, "stat " + path));
    if (S_ISDIR(info.st_mode)) {
      UniqueFd fd(::openat(parent, name.c_str(), O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC));
      if (!fd) return Error::from_errno(errno, "open folder " + path);
      MVM_TRY(header(path, AE_IFDIR, 0755, 0));
      return folder(std::move(fd), path, depth + 1);
    }
    if (S_ISLNK(info.st_mode)) return link(parent, name, path);
    if (S_ISREG(info.st_mode)) return file(parent, name, path);
    return ok();  // sockets, pipes and devices mean nothing elsewhere
  }

  Status link(int parent, const std::string& name, const std::string& path) {
    std::array<char, 4097> target{};
    const ssize_t length = ::readlinkat(parent, name.c_str(), target.data(), target.size() - 1);
    if (length < 0) return Error::from_errno(errno, "read link " + path);
    const std::string text(target.data(), static_cast<std::size_t>(length));
    if (!link_stays_inside(path, text)) {
      if (!refuse_links_out_) return ok();
      return Error(ErrorCode::kInvalid,
                   "link " + path + " leads out of the folder, to " + text.substr(0, 200));
    }
    return header(path, AE_IFLNK, 0777, 0, text);
  }

  Status file(int parent, const std::string& name, const std::string& path) {
    const UniqueFd fd(::openat(parent, name.c_str(), O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC));
    struct stat info {};
    if (!fd || ::fstat(fd.get(), &info) != 0) return Error::from_errno(errno, "open " + path);
    if (!S_ISREG(info.st_mode)) return Error(ErrorCode::kConflict, path + " changed while it was packed");
    const auto size = static_cast<std::uint64_t>(info.st_size);
    if (size > limits_.bytes || content_.bytes > limits_.bytes - size)
      return Error(ErrorCode::kExhausted,
                   "more than " + std::to_string(limits_.bytes) + " bytes, at " + path);
    content_.bytes += size;
    MVM_TRY(header(path, AE_IFREG, (info.st_mode & 0111U) != 0 ? 0755 : 0644, size));
    std::string piece(64 << 10, '\0');
    for (std::uint64_t done = 0; done < size;) {
      const std::size_t wanted = static_cast<std::size_t>(std::min<std::uint64_t>(piece.size(), size - done));
      const ssize_t got = ::read(fd.get(), piece.data(), wanted);
      if (got < 0 && errno == EINTR) continue;
      if (got <= 0) return Error(ErrorCode::kConflict, path + " became shorter while it was packed");
      MVM_TRY(data(std::string_view(piece).substr(0, static_cast<std::size_t>(got))));
      done += static_cast<std::uint64_t>(got);
    }
    return ok();
  }

  Status header(const std::string& path, unsigned type, unsigned mode, std::uint64_t size,
                const std::string& target = {}) {
    if (++content_.entries > limits_.entries)
      return Error(ErrorCode::kExhausted,
                   "more than " + std::to_string(limits_.entries) + " files and folders");
    const Entry entry(::archive_entry_new());
    ::archive_entry_copy_pathname(entry.get(), path.c_str());
    ::archive_entry_set_filetype(entry.get(), type);
    ::archive_entry_set_perm(entry.get(), mode);
    ::archive_entry_set_size(entry.get(), static_cast<la_int64_t>(size));
    ::archive_entry_set_mtime(entry.get(), 0, 0);
    ::archive_entry_set_uid(entry.get(), 0);
    ::archive_entry_set_gid(entry.get(), 0);
    if (!target.empty()) ::archive_entry_copy_symlink(entry.get(), target.c_str());
    const int done = ::archive_write_header(archive_, entry.get());
    return done == ARCHIVE_OK || done == ARCHIVE_WARN ? ok() : Status(broken());
  }

  Status data(std::string_view bytes) {
    while (!bytes.empty()) {
      const la_ssize_t put = ::archive_write_data(archive_, bytes.data(), bytes.size());
      if (put <= 0) return broken();
      bytes.remove_prefix(static_cast<std::size_t>(put));
    }
    return ok();
  }

  archive* archive_;
  Output& output_;
  const ArchiveLimits& limits_;
  bool refuse_links_out_;
  ArchiveContent content_;
};

/// Runs `work` between opening and closing an archive that goes to the sink.
template <class Work>
Result<ArchiveContent> write_archive(const ArchiveSink& sink, const ArchiveLimits& limits,
                                     bool refuse_links_out, const Work& work) {
  const Writer writer(::archive_write_new());
  Output output{sink};
  // No alignment of the last block: the bytes depend on the content alone.
  if (!writer || ::archive_write_set_format_pax_restricted(writer.get()) != ARCHIVE_OK ||
      ::archive_write_add_filter_zstd(writer.get()) != ARCHIVE_OK ||
      ::archive_write_set_options(writer.get(), "zstd:compression-level=3,pax:hdrcharset=BINARY") !=
          ARCHIVE_OK ||
      ::archive_write_set_bytes_in_last_block(writer.get(), 1) != ARCHIVE_OK ||
      ::archive_write_open2(writer.get(), &output, nullptr, &write_to_sink, nullptr, nullptr) != ARCHIVE_OK)
    return Error(ErrorCode::kUnsupported,
                 "cannot write tar.zst: " + (writer ? reason(writer.get()) : "no memory"));
  Packer packer(writer.get(), output, limits, refuse_links_out);
  MVM_TRY(work(packer));
  if (::archive_write_close(writer.get()) != ARCHIVE_OK)
    return output.status ? Error(ErrorCode::kIo, "write the archive: " + reason(writer.get()))
                         : output.status.error();
  return packer.content();
}

}  // namespace

Result<ArchiveContent> pack_directory(const fs::path& folder, const ArchiveSink& sink,
                                      const ArchiveLimits& limits, bool refuse_links_out) {
  UniqueFd fd(::open(folder.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (!fd) return Error::from_errno(errno, "open folder " + folder.string());
  return write_archive(sink, limits, refuse_links_out,
                       [&](Packer& packer) { return packer.folder(std::move(fd), "", 0); });
}

Result<std::string> pack_directory(const fs::path& folder, const BlobStore& store,
                                   const ArchiveLimits& limits, bool refuse_links_out) {
  MVM_ASSIGN(BlobWriter blob, store.write());
  MVM_ASSIGN(
      [[maybe_unused]] const ArchiveContent content,
      pack_directory(
          folder, [&](std::string_view bytes) { return blob.append(bytes); }, limits, refuse_links_out));
  return blob.commit();
}

Result<std::string> pack_text(const std::string& name, std::string_view text) {
  MVM_ASSIGN(const std::string path, clean_path(name, {}));
  if (path.empty()) return Error(ErrorCode::kInvalid, "a file needs a name");
  std::string bytes;
  const ArchiveSink sink = [&](std::string_view piece) {
    bytes += piece;
    return ok();
  };
  MVM_ASSIGN([[maybe_unused]] const ArchiveContent content,
             write_archive(sink, {}, true, [&](Packer& packer) { return packer.text(path, text); }));
  return bytes;
}

}  // namespace mvm::build
