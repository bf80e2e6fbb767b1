#include "examples/plain_run.h"

#include <fcntl.h>
#include <poll.h>

#include <algorithm>
#include <fstream>
#include <memory>

#include "mvm/base/file.h"
#include "mvm/base/subprocess.h"
#include "mvm/queuevm/attach_server.h"
#include "mvm/queuevm/queue.h"
#include "mvm/queuevm/wiring.h"
#include "mvm/topologies/reader.h"

namespace mvm::test {
namespace {

using queuevm::EndState;
using queuevm::Side;
using topologies::Graph;
using topologies::LinkId;
using topologies::ProcessId;
using topologies::Profile;

constexpr std::size_t kOutputLimit = 1 << 20;

/// Removes a folder when it goes.
struct Folder {
  std::filesystem::path path;
  ~Folder() { static_cast<void>(remove_tree(path)); }
};

/// A queue's end that one process holds.
struct HeldEnd {
  queuevm::Queue* queue;
  queuevm::End end;
};

/// A process with all that must outlive it.
struct Running {
  PlainProcess record;
  std::filesystem::path folder;
  std::vector<HeldEnd> ends;  ///< by descriptor number
  std::unique_ptr<queuevm::WiringTable> table;
  std::unique_ptr<queuevm::AttachServer> server;
  bool serving = true;
  std::unique_ptr<Subprocess> child;
};

class Run {
 public:
  Run(const Profile& profile, std::filesystem::path source, std::filesystem::path work)
      : profile_(profile), source_(std::move(source)), work_(std::move(work)) {}

  Result<PlainRun> all(std::chrono::steady_clock::time_point deadline) {
    for (const topologies::Program& program : profile_.programs) MVM_TRY(build(program));
    MVM_TRY(make_queues());
    for (ProcessId id = 0; id < graph().process_count(); ++id) MVM_TRY(start(id));
    MVM_TRY(serve(deadline));
    PlainRun result;
    for (const auto& process : running_) {
      MVM_ASSIGN(process->record.output, read_file(process->folder / ".output", kOutputLimit));
      result.processes.push_back(process->record);
    }
    for (const topologies::StageOut& stage : profile_.stage_out) {
      for (const ProcessId id : stage.from) {
        auto content = read_file(running_[id]->folder / stage.name, 64 << 20);
        if (content) result.results[stage.name] = *content;
      }
    }
    return result;
  }

 private:
  const Graph& graph() const { return profile_.graph; }
  std::filesystem::path built(const std::string& role) const { return work_ / ("build-" + role); }

  Status build(const topologies::Program& program) {
    const std::filesystem::path folder = built(program.role);
    MVM_TRY(make_folders(folder));
    for (const topologies::Source& source : program.sources) {
      if (source.kind == topologies::Source::Kind::kInline) {
        std::ofstream(folder / source.name) << source.text;
      } else {
        std::filesystem::copy(source_ / source.path, folder, std::filesystem::copy_options::recursive);
      }
    }
    if (!program.build) return ok();
    MVM_ASSIGN(const Captured said,
               run_captured({.argv = {"/bin/sh", "-c", "cd \"$MVM_BUILD\" && " + program.build->command},
                             .environment = {{"MVM_BUILD", folder.string()},
                                             {"PKG_CONFIG_PATH", MVM_SDK "/lib/pkgconfig"}}},
                            std::chrono::minutes(3)));
    if (said.status.success()) return ok();
    return Error(ErrorCode::kInvalid, program.role + ": " + said.output + said.errors);
  }

  /// One queue for each link: all examples deliver to one of the consumers.
  Status make_queues() {
    for (LinkId id = 0; id < graph().link_count(); ++id) {
      const topologies::Link link = graph().link(id);
      if (link.spec->deliver != topologies::Deliver::kOneOf) {
        return Error(ErrorCode::kUnsupported, graph().link_name(id) + " does not deliver one-of");
      }
      queuevm::QueueSpec spec;
      spec.kind = queuevm::queue_kind_from(to_string(link.spec->queue.type)).value();
      spec.when_full = queuevm::when_full_from(to_string(link.spec->queue.when_full)).value();
      spec.capacity = link.spec->queue.capacity;
      spec.bytes = std::max<std::uint64_t>(link.spec->queue.bytes, 4096);
      spec.producers = static_cast<std::uint32_t>(link.producers.size());
      spec.consumers = static_cast<std::uint32_t>(link.consumers.size());
      spec.id = id;
      MVM_ASSIGN(auto queue, queuevm::Queue::create_in_memory(spec, "link"));
      queues_.push_back(std::move(queue));
    }
    return ok();
  }

  /// The number of this end among the link's producers or consumers.
  static std::uint32_t slot_in(std::span<const topologies::End> ends, topologies::End end) {
    return static_cast<std::uint32_t>(std::find(ends.begin(), ends.end(), end) - ends.begin());
  }

  queuevm::Wiring wire(ProcessId id, std::vector<HeldEnd>& held) {
    const topologies::Role& role = graph().roles()[graph().role_of(id)];
    queuevm::Wiring wiring{
        .job = "plain", .role = role.name, .index = graph().index_of(id), .count = role.count};
    for (const topologies::Param& param : profile_.params)
      wiring.parameters.emplace_back(param.name, param.value);
    for (const topologies::Port& port : role.ports) {
      const bool out = port.direction == topologies::Direction::kOut;
      for (std::uint32_t element = 0; element < port.count; ++element) {
        const topologies::End end{id, port.first_slot + element};
        queuevm::WiringPort wired{.name = port.name,
                                  .index = element,
                                  .direction = out ? queuevm::Direction::kOut : queuevm::Direction::kIn};
        for (const LinkId link : graph().links_at(end)) {
          const auto ends = out ? graph().link(link).producers : graph().link(link).consumers;
          const std::uint32_t slot = slot_in(ends, end);
          wired.links.push_back(
              {.id = link, .descriptor = static_cast<std::uint32_t>(held.size()), .slot = slot});
          held.push_back({&queues_[link], {out ? Side::kProducer : Side::kConsumer, slot}});
        }
        wiring.ports.push_back(std::move(wired));
      }
    }
    wiring.descriptors = static_cast<std::uint32_t>(held.size());
    return wiring;
  }

  Status start(ProcessId id) {
    running_.push_back(std::make_unique<Running>());
    Running& process = *running_.back();
    process.record.name = graph().process_name(id);
    process.folder = work_ / ("process-" + std::to_string(id));
    const topologies::Program& program = profile_.programs[graph().role_of(id)];
    std::filesystem::copy(built(program.role), process.folder, std::filesystem::copy_options::recursive);
    for (const topologies::StageIn& stage : profile_.stage_in) {
      if (std::find(stage.to.begin(), stage.to.end(), id) == stage.to.end()) continue;
      std::filesystem::copy(source_ / stage.file, process.folder / stage.name);
    }
    MVM_ASSIGN(auto table, queuevm::WiringTable::create(wire(id, process.ends)));
    process.table = std::make_unique<queuevm::WiringTable>(std::move(table));
    MVM_ASSIGN(auto sockets, queuevm::AttachServer::make_sockets());
    process.server = std::make_unique<queuevm::AttachServer>(
        std::move(sockets.first), *process.table, [&process](std::uint32_t descriptor) {
          return process.ends.at(descriptor).queue->open_descriptor();
        });
    const UniqueFd output(
        ::open((process.folder / ".output").c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600));
    // The program stands relative to its folder; env starts it there without a shell.
    std::vector<std::string> argv{"/usr/bin/env", "-C", process.folder.string()};
    argv.insert(argv.end(), program.argv.begin(), program.argv.end());
    MVM_ASSIGN(auto child, Subprocess::spawn({.argv = argv,
                                              .environment = {{"MVM_FD", "3"}},
                                              .standard_output = output.get(),
                                              .standard_error = output.get(),
                                              .descriptors = {{sockets.second.get(), 3}}}));
    process.child = std::make_unique<Subprocess>(std::move(child));
    return ok();
  }

  /// Answers attaching processes and closes the ends of those that ended, until none is left.
  Status serve(std::chrono::steady_clock::time_point deadline) {
    std::size_t alive = running_.size();
    while (alive > 0) {
      std::vector<pollfd> fds;
      for (const auto& process : running_) {
        const bool runs = process->child != nullptr;
        fds.push_back(
            {.fd = runs && process->serving ? process->server->fd() : -1, .events = POLLIN, .revents = 0});
        fds.push_back({.fd = runs ? process->child->pidfd() : -1, .events = POLLIN, .revents = 0});
      }
      const auto left =
          std::chrono::duration_cast<std::chrono::milliseconds>(deadline - std::chrono::steady_clock::now());
      if (left.count() <= 0) return Error(ErrorCode::kTimeout, "the job takes too long");
      if (::poll(fds.data(), fds.size(), static_cast<int>(left.count())) < 0 && errno != EINTR) {
        return Error::from_errno(errno, "poll");
      }
      for (std::size_t i = 0; i < running_.size(); ++i) {
        Running& process = *running_[i];
        if (fds[2 * i].revents != 0 && !process.server->on_readable()) process.serving = false;
        if (fds[2 * i + 1].revents == 0) continue;
        process.record.code = process.child->wait().code;
        process.child.reset();
        --alive;
        for (const HeldEnd& held : process.ends) {
          MVM_TRY(
              held.queue->close_end(held.end, process.record.code == 0 ? EndState::kDone : EndState::kDead));
        }
      }
    }
    return ok();
  }

  const Profile& profile_;
  std::filesystem::path source_, work_;
  std::vector<queuevm::Queue> queues_;
  std::vector<std::unique_ptr<Running>> running_;
};

}  // namespace

Result<PlainRun> run_plain(const std::filesystem::path& job_file,
                           const std::map<std::string, std::string>& set, std::chrono::seconds limit) {
  topologies::FileResolver resolver;
  const topologies::ReadResult read =
      topologies::read_profile_file(job_file, {.set = set, .resolver = &resolver});
  if (!read.ok()) return topologies::to_error(read.diagnostics);
  MVM_ASSIGN(const auto folder, make_temporary_folder(std::filesystem::temp_directory_path(), "mvm-plain-"));
  const Folder cleaned{folder};
  return Run(*read.profile, job_file.parent_path(), folder).all(std::chrono::steady_clock::now() + limit);
}

}  // namespace mvm::test
