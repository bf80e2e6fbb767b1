#include "journal.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>

#include "mvm/base/file.h"

namespace mvm::channel {
namespace {

constexpr std::size_t kCompactAbove = 256 << 10;
constexpr std::size_t kMaxJournal = 256 << 20;

nlohmann::json head_of(const JournalEntry& entry) {
  nlohmann::json head{{"seq", entry.meta.seq}, {"event", entry.meta.name}, {"args", entry.args}};
  if (!entry.meta.mark.empty()) head["mark"] = entry.meta.mark;
  if (!entry.meta.group.empty()) head["group"] = entry.meta.group;
  if (entry.meta.spool)
    head["spool"] = {{"id", entry.meta.spool->id},
                     {"offset", entry.meta.spool->offset},
                     {"length", entry.meta.spool->length}};
  return head;
}

JournalEntry entry_from(Frame frame) {
  JournalEntry entry;
  entry.meta.seq = frame.head.value("seq", std::uint64_t{0});
  entry.meta.name = frame.head.value("event", "");
  entry.meta.mark = frame.head.value("mark", "");
  entry.meta.group = frame.head.value("group", "");
  if (const auto spool = frame.head.find("spool"); spool != frame.head.end())
    entry.meta.spool = SpoolPart{spool->value("id", ""), spool->value("offset", std::uint64_t{0}),
                                 spool->value("length", std::uint32_t{0})};
  entry.args = frame.head.value("args", nlohmann::json::object());
  entry.blob = std::move(frame.blob);
  return entry;
}

}  // namespace

Result<Journal> Journal::open(std::filesystem::path path, std::string boot) {
  Journal journal;
  journal.path_ = std::move(path);
  journal.boot_ = std::move(boot);
  journal.fd_.reset(
      ::open(journal.path_.c_str(), O_RDWR | O_CREAT | O_NOFOLLOW | O_APPEND | O_CLOEXEC, 0600));
  if (!journal.fd_) return Error::from_errno(errno, "open " + journal.path_.string());
  MVM_TRY(journal.load());
  return journal;
}

Status Journal::load() {
  MVM_ASSIGN(const std::string content, read_all(fd_.get(), kMaxJournal));
  FrameDecoder decoder;
  decoder.feed(content);
  bool ours = false;
  bool first = true;
  for (;;) {
    auto frame = decoder.next();
    if (!frame || !*frame) break;  // the end, or a frame that was cut
    if (std::exchange(first, false)) {
      ours = (*frame)->head.value("boot", "") == boot_;
      if (!ours) break;
      next_ = (*frame)->head.value("next", std::uint64_t{1});
    } else {
      apply(std::move(**frame));
    }
  }
  if (!ours) {
    entries_.clear();
    next_ = 1;
  }
  for (const JournalEntry& entry : entries_)
    if (!entry.meta.mark.empty()) marks_.insert(entry.meta.mark);
  return rewrite();
}

void Journal::apply(Frame frame) {
  if (const auto acked = frame.head.find("acked"); acked != frame.head.end()) {
    const auto seq = acked->get<std::uint64_t>();
    std::erase_if(entries_, [&](const JournalEntry& entry) { return entry.meta.seq <= seq; });
  } else if (const auto group = frame.head.find("withdrawn"); group != frame.head.end()) {
    std::erase_if(entries_, [&](const JournalEntry& entry) { return entry.meta.group == *group; });
  } else {
    entries_.push_back(entry_from(std::move(frame)));
    next_ = std::max(next_, entries_.back().meta.seq + 1);
  }
}

Status Journal::write(const std::string& bytes) {
  if (Status written = write_all(fd_.get(), bytes); !written) {
    (void)::ftruncate(fd_.get(), static_cast<off_t>(size_));  // no half frame before the next one
    return std::move(written).error().wrap("write " + path_.string());
  }
  size_ += bytes.size();
  return ok();
}

Status Journal::rewrite() {
  const std::filesystem::path fresh = path_.string() + ".new";
  UniqueFd fd(::open(fresh.c_str(), O_RDWR | O_CREAT | O_TRUNC | O_NOFOLLOW | O_APPEND | O_CLOEXEC, 0600));
  if (!fd) return Error::from_errno(errno, "create " + fresh.string());
  std::string bytes = encode_frame({{"boot", boot_}, {"next", next_}});
  for (const JournalEntry& entry : entries_) bytes += encode_frame(head_of(entry), entry.blob);
  MVM_TRY(write_all(fd.get(), bytes));
  if (::rename(fresh.c_str(), path_.c_str()) != 0)
    return Error::from_errno(errno, "rename to " + path_.string());
  fd_ = std::move(fd);
  size_ = bytes.size();
  return ok();
}

void Journal::compact() {
  if (size_ < (entries_.empty() ? kCompactAbove : 16 * kCompactAbove)) return;
  // Where the disk is full the old file stays as it is: it is whole.
  (void)rewrite();
}

Result<std::uint64_t> Journal::append(NewEvent event) {
  if (!event.mark.empty() && marks_.contains(event.mark)) return std::uint64_t{0};
  JournalEntry entry{
      {next_, std::move(event.name), event.mark, std::move(event.group), std::move(event.spool)},
      std::move(event.args),
      std::move(event.blob)};
  MVM_TRY(write(encode_frame(head_of(entry), entry.blob)));
  if (!event.mark.empty()) marks_.insert(event.mark);
  entries_.push_back(std::move(entry));
  return next_++;
}

std::vector<PendingEvent> Journal::up_to(std::uint64_t seq) const {
  std::vector<PendingEvent> found;
  for (const JournalEntry& entry : entries_) {
    if (entry.meta.seq > seq) break;
    found.push_back(entry.meta);
  }
  return found;
}

void Journal::acknowledge(std::uint64_t seq) {
  bool any = false;
  while (!entries_.empty() && entries_.front().meta.seq <= seq) {
    marks_.erase(entries_.front().meta.mark);
    entries_.pop_front();
    any = true;
  }
  if (!any) return;
  (void)write(encode_frame({{"acked", seq}}));
  compact();
}

void Journal::withdraw(const std::string& group) {
  const std::size_t dropped = std::erase_if(entries_, [&](const JournalEntry& entry) {
    if (entry.meta.group != group) return false;
    marks_.erase(entry.meta.mark);
    return true;
  });
  if (dropped == 0) return;
  (void)write(encode_frame({{"withdrawn", group}}));
  compact();
}

const JournalEntry* Journal::after(std::uint64_t seq) const {
  const auto found = std::upper_bound(
      entries_.begin(), entries_.end(), seq,
      [](std::uint64_t wanted, const JournalEntry& entry) { return wanted < entry.meta.seq; });
  return found == entries_.end() ? nullptr : &*found;
}

}  // namespace mvm::channel
