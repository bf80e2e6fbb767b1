#pragma once
// What the store holds, as structs, and their JSON. docs/formats/state.md specifies keys and fields.

#include <cstdint>
#include <map>
#include <nlohmann/json.hpp>
#include <set>
#include <string>
#include <vector>

#include "mvm/base/result.h"
#include "mvm/broker/job_machine.h"
#include "mvm/broker/planner.h"
#include "mvm/soap/broker_api.h"

namespace mvm::broker {

/// `jobs/ID`
struct JobRecord {
  std::uint64_t number = 0;
  std::string id, lab, name, user, file;
  bool own_lab = true;  ///< the lab lives for this job alone
  std::string profile;  ///< digest of the XML in the blob store
  std::map<std::string, std::string> settings;
  std::vector<std::string> sources;  ///< digest of each program's source tree
  std::string request;
  JobCore core;
  bool cancel_asked = false;
  bool rewired = false;    ///< its links are those of `graphs/ID`, not of its profile
  bool collected = false;  ///< this attempt's results are in the store
  std::string reason;      ///< why it ended, or is ending
  std::int64_t submitted_ms = 0, started_ms = 0, ended_ms = 0;
  std::int64_t running_ms = 0;  ///< wall clock when this attempt began to run; 0: it did not
  int exit_code = 0;
  std::vector<std::string> where;  ///< hosts
  std::uint32_t node_count = 0;
  std::vector<soap::Transition> transitions;  ///< the last kKeptTransitions
};
inline constexpr std::size_t kKeptTransitions = 100;

/// `labs/ID`
struct LabRecord {
  std::string id, name, user, job;
  bool ephemeral = false;  ///< lives for `job`
  bool destroying = false;
  std::string secret;                          ///< the hosts' too: their proxies prove themselves with it
  std::string codec_seed;                      ///< never leaves the broker
  std::map<std::string, std::string> subnets;  ///< host → subnet
  std::set<std::string> proxies;               ///< hosts that carry links to other domains
  std::set<std::string> plain;                 ///< hosts that carry links between hosts without TLS
  std::set<std::string> secured;               ///< hosts that carry links to guests by TLS
  std::int64_t created_ms = 0;
  std::string profile;
  std::map<std::string, std::string> settings;
};

/// `builds/KEY`
struct BuildRecord {
  std::string key;
  std::string state;  ///< "building", "fetching", "done", "failed"
  std::string role, image, architecture, command, source;
  std::string job, lab, host, node;  ///< where it is or was compiled
  std::string digest;                ///< of the output's archive
  std::string reason;                ///< why it failed
  std::int64_t at_ms = 0;
  std::uint64_t size = 0, wall_ms = 0, hits = 0;
  std::string user;  ///< for whose job it was compiled
};

/// `ends/JOB/ATTEMPT/TAG`: how a process ended.
struct EndRecord {
  int code = 0, signal = 0;
  std::uint64_t user_ms = 0, system_ms = 0, max_rss = 0;
};

/// The exit code it counts as: 128 and the signal where one ended it.
[[nodiscard]] int exit_code(const EndRecord& end);
/// "ended with code 2", "was ended by signal 9"
[[nodiscard]] std::string how_ended(const EndRecord& end);

/// `execs/ID`
struct ExecRecord {
  std::string id, lab, node, host, user;
  bool ended = false;
  int code = 0;
  std::int64_t at_ms = 0;
};

/// `cursors/HOST`
struct CursorRecord {
  std::string epoch;
  std::uint64_t seq = 0;
};

/// `hosts/NAME`: a host that joined, or one of the broker's own that is drained
struct HostRecord {
  std::string name;
  std::string url;  ///< "https://ADDRESS:PORT"; empty: the broker was made with it
  std::string key;  ///< SHA-256 of its public key
  bool drained = false;
  bool removed = false;  ///< kept until no lab names it any more
  std::int64_t joined_ms = 0;
};

/// `invites/SHA256-OF-SECRET`
struct InviteRecord {
  std::string name;  ///< empty: any
  std::string key;   ///< SHA-256 of the public key that joined with it; empty: unused
  std::int64_t expires_ms = 0;
};

/// Text of a record, and back; kCorrupt where it is not one.
[[nodiscard]] std::string encode(const JobRecord& record);
[[nodiscard]] std::string encode(const LabRecord& record);
[[nodiscard]] std::string encode(const BuildRecord& record);
[[nodiscard]] std::string encode(const EndRecord& record);
[[nodiscard]] std::string encode(const ExecRecord& record);
[[nodiscard]] std::string encode(const CursorRecord& record);
[[nodiscard]] std::string encode(const HostRecord& record);
[[nodiscard]] std::string encode(const InviteRecord& record);
[[nodiscard]] std::string encode(const Plan& plan);
[[nodiscard]] std::string encode(const std::vector<soap::ResultFile>& results);
[[nodiscard]] std::string encode(const std::map<std::string, std::string>& texts);
[[nodiscard]] Result<JobRecord> decode_job(std::string_view text);
[[nodiscard]] Result<LabRecord> decode_lab(std::string_view text);
[[nodiscard]] Result<BuildRecord> decode_build(std::string_view text);
[[nodiscard]] Result<EndRecord> decode_end(std::string_view text);
[[nodiscard]] Result<ExecRecord> decode_exec(std::string_view text);
[[nodiscard]] Result<CursorRecord> decode_cursor(std::string_view text);
[[nodiscard]] Result<HostRecord> decode_host(std::string_view text);
[[nodiscard]] Result<InviteRecord> decode_invite(std::string_view text);
[[nodiscard]] Result<Plan> decode_plan(std::string_view text);
[[nodiscard]] Result<std::vector<soap::ResultFile>> decode_results(std::string_view text);
[[nodiscard]] Result<std::map<std::string, std::string>> decode_texts(std::string_view text);

/// A piece of output: a JSON head, a line feed, then the bytes as they came.
struct LogRecord {
  std::string process, node, stream;
  std::uint64_t offset = 0;
  std::int64_t at_ms = 0;
  std::string text;
};
[[nodiscard]] std::string encode(const LogRecord& record);
[[nodiscard]] Result<LogRecord> decode_log(std::string_view text);

/// Numbers as keys sort like numbers.
[[nodiscard]] std::string padded(std::uint64_t number);
/// JSON text of anything; bytes that are no UTF-8 are replaced.
[[nodiscard]] std::string dump(const nlohmann::json& value);

}  // namespace mvm::broker
