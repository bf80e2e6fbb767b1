// mvm vm ...

#include <istream>
#include <iterator>
#include <ostream>

#include "common.h"
#include "follow.h"
#include "format.h"
#include "mvm/base/file.h"
#include "vm_listing.h"

namespace mvm::cli {
namespace {

using std::chrono::milliseconds;

constexpr std::size_t kMaxInput = 1 << 20;

/// NODE [--lab LAB]
struct NodeOptions {
  std::string node, lab;
};

std::shared_ptr<NodeOptions> add_node(Grammar& grammar, CLI::App& verb) {
  auto options = std::make_shared<NodeOptions>();
  grammar.completes(verb.add_option("NODE", options->node, "the VM's node, or LAB/NODE")->required(),
                    Completes::kNode);
  grammar.completes(verb.add_option("--lab", options->lab, "the lab it is in")->type_name("LAB"),
                    Completes::kLab);
  return options;
}

void add_list(Grammar& grammar, CLI::App& noun) {
  struct Options {
    std::string lab;
    std::shared_ptr<Watch> watch;
  };
  auto options = std::make_shared<Options>();
  CLI::App& verb = grammar.verb(noun, "list", "VMs of a lab, or of all labs",
                                {"mvm vm list", "mvm vm list lab-3 -o json"}, [options](Session& session) {
                                  return show<Listing>(session, *options->watch, [&]() -> Result<Listing> {
                                    std::string lab;
                                    if (!options->lab.empty()) {
                                      MVM_ASSIGN(lab, resolve_lab(session, options->lab));
                                    }
                                    MVM_ASSIGN(auto api, session.api());
                                    MVM_ASSIGN(const auto vms, api.labs.vms(session.caller(), lab));
                                    return vm_listing(vms);
                                  });
                                });
  grammar.completes(verb.add_option("--lab,LAB", options->lab, "only of this lab")->type_name("LAB"),
                    Completes::kLab);
  options->watch = add_watch(grammar, verb);
}

// ---- console

struct ConsoleOptions {
  std::shared_ptr<NodeOptions> node;
  bool follow = false;
};

Result<int> console(Session& session, const ConsoleOptions& options) {
  MVM_ASSIGN(const auto vm, resolve_vm(session, options.node->node, options.node->lab));
  MVM_ASSIGN(auto api, session.api());
  std::uint64_t offset = 0;
  std::string all;  // for JSON only
  Pacer pacer(session);
  while (session.out()) {
    const milliseconds wait = options.follow && offset > 0 ? kLongPoll : milliseconds(0);
    pacer.begin();
    MVM_ASSIGN(const std::string bytes,
               patiently(session, options.follow ? milliseconds(60'000) : milliseconds(0),
                         [&] { return api.labs.console(session.caller(), vm.lab, vm.node, offset, wait); }));
    if (bytes.empty() && !options.follow) break;
    if (session.as_table()) {
      session.out() << (session.context().out_is_terminal ? harmless(bytes) : bytes);
      session.out().flush();
    } else if (session.format() == Format::kJsonl) {
      if (!bytes.empty()) {
        Json json = schema_object("console");
        json["lab"] = vm.lab;
        json["node"] = vm.node;
        json["offset"] = offset;
        json["text"] = bytes;
        print_json(session.out(), Format::kJsonl, json);
        session.out().flush();
      }
    } else {
      all += bytes;
    }
    offset += bytes.size();
    pacer.end(!bytes.empty());
    if (options.follow && session.context().interrupts.count() > 0) break;
  }
  if (session.format() == Format::kJson) {
    Json json = schema_object("console");
    json["lab"] = vm.lab;
    json["node"] = vm.node;
    json["offset"] = 0;
    json["text"] = all;
    print_json(session.out(), Format::kJson, json);
  }
  return kDone;
}

void add_console(Grammar& grammar, CLI::App& noun) {
  auto options = std::make_shared<ConsoleOptions>();
  CLI::App& verb = grammar.verb(noun, "console", "what a VM wrote to its console",
                                {"mvm vm console cell-0", "mvm vm console -f lab-3/cell-0"},
                                [options](Session& session) { return console(session, *options); });
  options->node = add_node(grammar, verb);
  verb.add_flag("-f,--follow", options->follow, "go on as it writes");
}

// ---- exec

struct ExecOptions {
  std::shared_ptr<NodeOptions> node;
  std::vector<std::string> argv;
  bool interactive = false;
};

Result<std::string> read_input(std::istream& in) {
  std::string input(kMaxInput + 1, '\0');
  in.read(input.data(), static_cast<std::streamsize>(input.size()));
  input.resize(static_cast<std::size_t>(in.gcount()));
  if (input.size() > kMaxInput) {
    return Error(ErrorCode::kExhausted, "standard input: found more than 1 MiB, expected no more");
  }
  return input;
}

/// Output of a program that was started in a VM: as it is, or as JSON.
void print_exec(Session& session, const soap::LogPiece& piece, std::string& out, std::string& err) {
  const bool to_err = piece.stream == "err";
  if (session.format() == Format::kJson) {
    (to_err ? err : out) += piece.text;
  } else if (session.format() == Format::kJsonl) {
    Json json = schema_object("exec-output");
    json["stream"] = piece.stream;
    json["text"] = piece.text;
    print_json(session.out(), Format::kJsonl, json);
  } else {
    const Context& context = session.context();
    const bool terminal = to_err ? context.err_is_terminal : context.out_is_terminal;
    (to_err ? session.err() : session.out()) << (terminal ? harmless(piece.text) : piece.text);
  }
  session.out().flush();
}

Result<int> exec(Session& session, const ExecOptions& options) {
  MVM_ASSIGN(const auto vm, resolve_vm(session, options.node->node, options.node->lab));
  MVM_ASSIGN(auto api, session.api());
  soap::ExecRequest request{vm.lab, vm.node, options.argv, ""};
  if (options.interactive) {
    MVM_ASSIGN(request.input, read_input(session.context().in));
  }
  MVM_ASSIGN(const std::string id, api.labs.exec(session.caller(), request));
  std::string out, err;
  std::uint64_t cursor = 0;
  int code = 0;
  Pacer pacer(session);
  for (bool ended = false; !ended;) {
    pacer.begin();
    MVM_ASSIGN(const auto page, patiently(session, milliseconds(60'000), [&] {
                 return api.labs.exec_output(session.caller(), id, cursor, kLongPoll);
               }));
    for (const soap::LogPiece& piece : page.pieces) print_exec(session, piece, out, err);
    cursor = page.cursor;
    ended = page.ended;
    code = page.code;
    pacer.end(!page.pieces.empty() || ended);
  }
  if (!session.as_table()) {
    Json json = schema_object("exec");
    json["lab"] = vm.lab;
    json["node"] = vm.node;
    json["argv"] = options.argv;
    json["code"] = code;
    if (session.format() == Format::kJson) {
      json["out"] = out;
      json["err"] = err;
    }
    print_json(session.out(), session.format(), json);
  }
  return code;
}

void add_exec(Grammar& grammar, CLI::App& noun) {
  auto options = std::make_shared<ExecOptions>();
  CLI::App& verb =
      grammar.verb(noun, "exec", "runs a program in a VM; its exit code becomes ours",
                   {"mvm vm exec cell-0 -- uname -a", "echo hello | mvm vm exec -i lab-3/cell-0 -- cat"},
                   [options](Session& session) { return exec(session, *options); });
  options->node = add_node(grammar, verb);
  verb.add_option("ARGV", options->argv, "the program and its arguments, behind --")->required();
  verb.add_flag("-i,--interactive", options->interactive, "hand it our standard input, at most 1 MiB");
}

// ---- suspend, resume

void add_suspend(Grammar& grammar, CLI::App& noun, bool suspend) {
  struct Options {
    std::vector<std::string> nodes;
    std::string lab;
  };
  auto options = std::make_shared<Options>();
  const std::string name = suspend ? "suspend" : "resume";
  CLI::App& verb =
      grammar.verb(noun, name, suspend ? "stops VMs in their tracks" : "lets suspended VMs go on",
                   {"mvm vm " + name + " cell-0", "mvm vm " + name + " --lab lab-3 cell-0 cell-1"},
                   [options, suspend](Session& session) {
                     return for_each_id(session, options->nodes, "vm", suspend ? "suspended" : "resumed",
                                        [&](const std::string& node) -> Status {
                                          MVM_ASSIGN(const auto vm, resolve_vm(session, node, options->lab));
                                          MVM_ASSIGN(auto api, session.api());
                                          return api.labs.suspend(session.caller(), vm.lab, vm.node, suspend);
                                        });
                   });
  grammar.completes(verb.add_option("NODE", options->nodes, "the VMs' nodes, or LAB/NODE")->required(),
                    Completes::kNode);
  grammar.completes(verb.add_option("--lab", options->lab, "the lab they are in")->type_name("LAB"),
                    Completes::kLab);
}

}  // namespace

void add_vm_verbs(Grammar& grammar) {
  CLI::App& noun = grammar.noun("vm", "VMs: look inside, run programs, suspend");
  add_list(grammar, noun);
  add_console(grammar, noun);
  add_exec(grammar, noun);
  add_suspend(grammar, noun, true);
  add_suspend(grammar, noun, false);
}

}  // namespace mvm::cli
