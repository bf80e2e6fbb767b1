// What the kernel asks of the launcher.
#include <fcntl.h>

#include <utility>

#include "launcher.h"
#include "mvm/base/json.h"

namespace mvm::kernel {
namespace {

constexpr std::size_t kMaxChildren = 4096;
constexpr std::size_t kMaxKept = 1024;

}  // namespace

void Launcher::take(Frame frame) {
  if (text_or(frame.head, "t") != "req") return;
  const std::uint64_t number = number_or(frame.head, "n");
  bool later = false;
  answer_descriptors_.clear();
  auto result = answer(text_or(frame.head, "op"), frame, later);
  if (later) return;
  nlohmann::json head{{"t", "rep"}, {"n", number}, {"ok", result.has_value()}};
  if (result)
    head["result"] = std::move(*result);
  else
    head["error"] = {{"code", to_string(result.error().code())}, {"message", result.error().describe()}};
  tell_kernel(std::move(head), std::move(answer_descriptors_));
}

Result<nlohmann::json> Launcher::answer(const std::string& op, Frame& frame, bool& later) {
  const nlohmann::json& args = object_or_empty(frame.head, "args");
  if (op == "begun") {
    if (const auto begun = std::exchange(begun_, nullptr)) begun();
    return nlohmann::json::object();
  }
  if (op == "start") return op_start(frame);
  if (op == "release") return op_release(args);
  if (op == "list") return op_list(args);
  if (op == "input") return op_input(frame);
  if (op == "keep") return op_keep(frame);
  if (op == "forget") return op_forget(number_or(frame.head, "n"), args, later);
  if (op == "kept-names") {
    const std::string prefix = text_or(args, "prefix");
    nlohmann::json names = nlohmann::json::array();
    for (const auto& [name, entry] : kept_)
      if (name.starts_with(prefix)) names.push_back(name);
    return nlohmann::json{{"names", std::move(names)}};
  }
  if (op == "kept") {
    const auto found = kept_.find(text_or(args, "name"));
    if (found == kept_.end()) return Error(ErrorCode::kNotFound, "nothing is kept under that name");
    for (const UniqueFd& fd : found->second.descriptors)
      answer_descriptors_.emplace_back(::fcntl(fd.get(), F_DUPFD_CLOEXEC, 3));
    return nlohmann::json{{"note", found->second.note}};
  }
  if (op == "drop") {
    kept_.erase(text_or(args, "name"));
    return nlohmann::json::object();
  }
  MVM_ASSIGN(Child* const child, find(args));
  if (op == "signal") {
    child->signal(static_cast<int>(number_or(args, "number")));
  } else if (op == "kill") {
    child->kill(text_or(args, "reason", "stopped"));
  } else if (op == "acked") {
    OutputPipe& pipe = text_or(args, "stream") == "err" ? child->err() : child->out();
    pipe.spool.acknowledge(number_or(args, "offset"));
  } else if (op == "finished") {
    child->finished = true;
  } else {
    return Error(ErrorCode::kUnsupported, "the launcher does not know \"" + op + "\"");
  }
  return nlohmann::json::object();
}

Result<Child*> Launcher::find(const nlohmann::json& args) {
  const std::string id = text_or(args, "id");
  const auto found = children_.find(id);
  if (found == children_.end() || found->second->forgetting)
    return Error(ErrorCode::kNotFound, "no process " + id.substr(0, 200));
  return found->second.get();
}

Result<nlohmann::json> Launcher::op_start(Frame& frame) {
  const nlohmann::json& args = object_or_empty(frame.head, "args");
  const std::string id = text_or(args, "id");
  if (const auto found = children_.find(id); found != children_.end()) {
    if (found->second->forgetting) return Error(ErrorCode::kConflict, "process " + id + " is being removed");
    return found->second->describe();
  }
  if (children_.size() >= kMaxChildren)
    return Error(ErrorCode::kExhausted,
                 "this node has " + std::to_string(kMaxChildren) + " processes already");
  const ChildContext context{config_, drop_, job_filter_ ? &*job_filter_ : nullptr,
                             build_filter_ ? &*build_filter_ : nullptr};
  MVM_ASSIGN(std::unique_ptr<Child> child, Child::start(context, args, frame.descriptors));
  nlohmann::json info = child->describe();
  children_.emplace(child->id(), std::move(child));
  return info;
}

/// All at once: while one executes its program, so do the others. Answers the first problem, after the last.
Result<nlohmann::json> Launcher::op_release(const nlohmann::json& args) {
  MVM_ASSIGN(const std::vector<std::string> ids, texts_of(args, "ids", kMaxChildren, 200));
  Status done = ok();
  std::vector<Child*> opened;
  for (const std::string& id : ids) {
    const auto child = find({{"id", id}});
    if (!child) {
      if (done) done = child.error();
      continue;
    }
    (*child)->open_gate();
    opened.push_back(*child);
  }
  for (Child* const child : opened)
    if (Status released = child->await_release(); !released && done) done = std::move(released);
  if (!done) return done.error();
  return nlohmann::json::object();
}

Result<nlohmann::json> Launcher::op_list(const nlohmann::json& args) {
  const std::string group = text_or(args, "group");
  const std::string id = text_or(args, "id");
  const std::string after = text_or(args, "after");
  nlohmann::json processes = nlohmann::json::array();
  std::size_t size = 0;
  // In pages: a frame has room for a thousand and more, unless their memos are large.
  for (auto entry = children_.upper_bound(after); entry != children_.end(); ++entry) {
    const Child& child = *entry->second;
    if (child.forgetting || (!group.empty() && child.group() != group) || (!id.empty() && child.id() != id))
      continue;
    nlohmann::json info = child.describe();
    size += info.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace).size();
    if (!processes.empty() && size > kMaxFrameText / 2)
      return nlohmann::json{{"processes", processes}, {"more", true}};
    processes.push_back(std::move(info));
  }
  return nlohmann::json{{"processes", std::move(processes)}, {"more", false}};
}

Result<nlohmann::json> Launcher::op_input(Frame& frame) {
  const nlohmann::json& args = object_or_empty(frame.head, "args");
  MVM_ASSIGN(Child* const child, find(args));
  MVM_ASSIGN(const std::uint64_t taken,
             child->input(number_or(args, "offset"), frame.blob, flag_or(args, "end")));
  return nlohmann::json{{"taken", taken}};
}

Result<nlohmann::json> Launcher::op_keep(Frame& frame) {
  const nlohmann::json& args = object_or_empty(frame.head, "args");
  MVM_ASSIGN(const std::string name, need_text(args, "name", 300));
  if (kept_.size() >= kMaxKept && !kept_.contains(name))
    return Error(ErrorCode::kExhausted, "the launcher keeps " + std::to_string(kMaxKept) + " things already");
  KeptEntry& entry = kept_[name];
  entry.note = object_or_empty(args, "note");
  entry.descriptors = std::move(frame.descriptors);
  return nlohmann::json::object();
}

Result<nlohmann::json> Launcher::op_forget(std::uint64_t number, const nlohmann::json& args, bool& later) {
  const std::string group = text_or(args, "group");
  const std::string id = text_or(args, "id");
  if (group.empty() == id.empty()) return Error(ErrorCode::kInvalid, "forget: a group or an id");
  for (auto& [name, child] : children_) {
    if (id.empty() ? child->group() != group : name != id) continue;
    child->forgetting = true;
    child->kill("cleaned");
    // Nobody will read it any more: the spool must not hold its end back.
    child->out().spool.acknowledge(child->out().spool.size());
    child->err().spool.acknowledge(child->err().spool.size());
  }
  waiting_.push_back({number, group, id});
  later = true;
  return nlohmann::json::object();
}

}  // namespace mvm::kernel
