#pragma once
// The daemon's side of a lab child: found or started, asked, watched, stopped.

#include <atomic>
#include <filesystem>
#include <memory>
#include <mutex>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <vector>

#include "mvm/base/frame.h"
#include "mvm/base/result.h"
#include "mvm/base/unique_fd.h"
#include "mvm/host/host_agent.h"
#include "mvm/host/lab_child.h"

namespace mvm::host {

/// A connection to a lab's child. Thread-safe.
class LabChildClient {
 public:
  /// Connects to the child that listens in the lab's folder; kUnavailable where there is none.
  [[nodiscard]] static Result<std::unique_ptr<LabChildClient>> adopt(const std::filesystem::path& folder);
  /// Starts `program lab ...` and waits until it listens.
  [[nodiscard]] static Result<std::unique_ptr<LabChildClient>> start(const std::filesystem::path& program,
                                                                     const LabChildOptions& options);
  /// True where a child ever began to run for the lab in this folder.
  [[nodiscard]] static bool was_started(const std::filesystem::path& folder);
  ~LabChildClient();

  [[nodiscard]] std::uint16_t port() const { return port_; }
  /// Where other hosts' proxies reach it; 0 before identify().
  [[nodiscard]] std::uint16_t secure_port() const { return secure_port_; }
  /// Gives it what it proves itself with towards other hosts, in place of what it had.
  [[nodiscard]] Status identify(const LinkIdentity& identity);
  /// Where they reach it without TLS; 0 before listen_plainly().
  [[nodiscard]] std::uint16_t plain_port() const { return plain_port_; }
  /// Has it listen there: for links between hosts that are to do without.
  [[nodiscard]] Status listen_plainly();
  /// Where guests reach it for links through shared memory; 0 before share().
  [[nodiscard]] std::uint16_t region_port() const { return region_port_; }
  /// Gives it the lab's region.
  [[nodiscard]] Status share(const UniqueFd& region);
  /// Polls readable when the child tells something; -1 where it is too old to tell anything.
  [[nodiscard]] int events_fd() const { return events_.get(); }
  /// What it told: the host's event without the lab. Called by one thread, when events_fd() is readable.
  [[nodiscard]] Result<HostEvent> next_event();
  /// Polls readable when the child has ended.
  [[nodiscard]] int pidfd() const { return pidfd_.get(); }
  [[nodiscard]] bool alive() const;

  [[nodiscard]] Result<nlohmann::json> call(const std::string& op, const nlohmann::json& args,
                                            const std::vector<int>& descriptors = {});
  /// Ends the child: asks, then kills. Nothing of it lives afterwards.
  void stop();

 private:
  LabChildClient(UniqueFd socket, UniqueFd pidfd);
  Result<nlohmann::json> call_locked(const std::string& op, const nlohmann::json& args,
                                     const std::vector<int>& descriptors);
  void hear_events(const std::filesystem::path& folder);
  void reap() const;

  std::mutex mutex_;
  UniqueFd socket_;
  UniqueFd pidfd_;
  FrameReader reader_;
  UniqueFd events_;  // a connection of its own
  std::optional<FrameReader> events_reader_;
  std::uint16_t port_ = 0;
  std::atomic<std::uint16_t> secure_port_ = 0;
  std::atomic<std::uint16_t> plain_port_ = 0;
  std::atomic<std::uint16_t> region_port_ = 0;
};

}  // namespace mvm::host
