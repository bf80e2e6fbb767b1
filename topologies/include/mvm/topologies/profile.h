#pragma once
// What a lab or job file says, with every parameter and reference resolved.

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "mvm/topologies/graph.h"
#include "mvm/topologies/image.h"
#include "mvm/topologies/params.h"
#include "mvm/topologies/policy.h"

namespace mvm::topologies {

/// Where source code comes from.
struct Source {
  enum class Kind {
    kPath,    ///< directory, archive or file on the client: `path`, relative to the profile's folder
    kInline,  ///< `text`, to be the file `name`
    kDigest,  ///< blob `digest` of the store: an archive, or with `name` and `file` one file
  };
  Kind kind = Kind::kPath;
  std::string path;
  std::string name;
  std::string text;
  std::string digest;
  bool file = false;  ///< kDigest: the blob is the file `name` itself, not an archive
  bool operator==(const Source&) const = default;
};

/// How a role's source becomes a program. Absent: nothing is compiled.
struct Build {
  std::string command;   ///< for /bin/sh -c inside the node's sandbox; nothing is substituted into it
  bool on_self = false;  ///< compiled on each node that runs it
  std::map<std::string, std::string> params;  ///< MVM_PARAM_* that the command names; part of the cache key
  std::int64_t time_ms = 300'000;             ///< longest wall time
  std::uint64_t memory = 2ULL << 30U;         ///< bytes of address space
  bool operator==(const Build&) const = default;
};

/// Limits of each process of a program; 0: the system's own.
struct ProcessLimits {
  std::int64_t cpu_ms = 0;
  std::uint64_t memory = 0;     ///< bytes of address space
  std::uint64_t file_size = 0;  ///< bytes
  std::uint32_t open_files = 0;
  std::uint32_t processes = 0;
  bool operator==(const ProcessLimits&) const = default;
};

/// What the processes of one role run.
struct Program {
  std::string role;
  std::vector<Source> sources;  ///< laid over each other in this order; may be empty
  std::optional<Build> build;
  std::vector<std::string> argv;  ///< split, then parameters substituted; never empty
  std::map<std::string, std::string> environment;
  ProcessLimits limits;
  bool operator==(const Program&) const = default;
};

/// A set of equal machines (nodes).
struct Machines {
  std::string name;                ///< node names are name-0, name-1, ...; unique in the profile
  std::vector<std::string> roles;  ///< whose processes they hold; empty: none (spare, or no job)
  std::string driver;              ///< "lxc", "qemu", "process"
  std::string image;               ///< name of an image; "host" where the file names none
  std::string host;                ///< only on this host; empty: any
  std::string architecture;        ///< empty: the image's
  std::uint32_t count = 1;
  std::uint32_t vcpus = 1;
  std::uint64_t memory = 256ULL << 20U;  ///< bytes
  std::uint64_t disk = 0;                ///< bytes; 0: the host's rule
  std::uint32_t processes = 0;           ///< most tasks at once; 0: the host's rule
  std::uint32_t cpu_share = 0;           ///< weight 1..10000 among neighbours; 0: equal
  std::vector<std::string> plugins;      ///< plug-ins their kernels load besides their own
  bool operator==(const Machines&) const = default;
};

/// A file brought to processes before they start.
struct StageIn {
  std::string file;    ///< the client's path, relative to the profile's folder
  std::string digest;  ///< its blob; empty until uploaded
  std::string name;    ///< what the process finds in its working directory
  std::vector<ProcessId> to;
  std::string to_text;  ///< as the file says it, "cell[*]": in a graph with other counts it means others
  bool operator==(const StageIn&) const = default;
};

/// A file kept as a result after processes ended.
struct StageOut {
  std::string name;       ///< relative to the process's working directory
  bool optional = false;  ///< no failure where it is not there
  std::vector<ProcessId> from;
  std::string from_text;  ///< as the file says it
  bool operator==(const StageOut&) const = default;
};

/// Limits of the job.
struct JobLimits {
  std::int64_t walltime_ms = 0;  ///< 0: none asked for
  std::uint32_t retries = 2;     ///< new attempts after faults of the infrastructure, never of the job itself
  bool operator==(const JobLimits&) const = default;
};

enum class DocumentKind { kLab, kJob, kTopology, kImage, kPolicy };
/// The root element's name: "lab", "job", ...
[[nodiscard]] std::string_view to_string(DocumentKind kind);

/// One file, read. A topology file fills graph and params only, an image file `images`, a policy file
/// `policies`.
struct Profile {
  DocumentKind kind = DocumentKind::kJob;
  std::string name;
  std::vector<Param> params;  ///< all of the file and of what it refers to, with final values
  Graph graph;                ///< empty for a lab without a topology
  bool has_job = false;       ///< false: a lab without a job
  std::string job_name;
  std::vector<Program> programs;   ///< where has_job: one for each role, in the order of graph.roles()
  std::vector<Machines> machines;  ///< empty: runs on the machines of the lab it is submitted to
  std::vector<StageIn> stage_in;
  std::vector<StageOut> stage_out;
  JobLimits limits;
  std::vector<Policy> policies;  ///< at most one for each kind
  std::vector<Image> images;     ///< those that `machines` name
  [[nodiscard]] const Image* find_image(std::string_view image) const;
  [[nodiscard]] const Param* find_param(std::string_view param) const;
};

}  // namespace mvm::topologies
