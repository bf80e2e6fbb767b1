// mvm doctor: is this machine fit for labs, and can we reach the broker?

#include <sys/statvfs.h>

#include <cstdlib>
#include <filesystem>
#include <ostream>

#include "common.h"
#include "format.h"

namespace mvm::cli {
namespace {

constexpr std::uint64_t kLeastSpace = 256ULL << 20;

Check check_token(Session& session) {
  Check check{"token", Check::Level::kOk, "", ""};
  const auto token = find_token(session.context(), session.globals().token_file);
  if (!token) {
    check.level = Check::Level::kFault;
    check.found = token.error().describe();
    check.mend = "ask the administrator for a token file, then chmod 600 it and name it in MVM_TOKEN_FILE";
    return check;
  }
  if (!token->path.empty()) {
    check.found = token->path.string();
    return check;
  }
  std::vector<std::string> looked;
  for (const auto& place : token->looked) looked.push_back(place.string());
  check.level = Check::Level::kWarning;
  check.found = "none in " + join(looked, ", ");
  check.mend = "start mvmd, which makes one, or name yours in MVM_TOKEN_FILE";
  return check;
}

/// Without a broker files can be checked and drawn: a warning, no fault.
Check check_broker(Session& session) {
  Check check{"broker", Check::Level::kWarning, "", ""};
  const auto who = [&]() -> Result<soap::WhoAmI> {
    MVM_ASSIGN(auto api, session.api());
    return api.system.whoami(session.caller());
  }();
  if (who) {
    check.level = Check::Level::kOk;
    check.found = who->version + " at " + session.globals().broker + ", you are " + who->caller.user + " (" +
                  who->caller.role + ")";
    return check;
  }
  check.found = who.error().describe();
  if (who.error().code() == ErrorCode::kUnavailable) {
    check.mend = "start mvmd, or name the broker in MVM_BROKER";
  } else {
    check.level = Check::Level::kFault;
    check.mend = "see that MVM_TOKEN_FILE names a token of this broker, and MVM_BROKER the right one";
  }
  return check;
}

Check check_space() {
  std::error_code failure;
  const auto folder = std::filesystem::temp_directory_path(failure);
  Check check{"temporary-space", Check::Level::kOk, "", ""};
  struct statvfs info {};
  if (failure || statvfs(folder.c_str(), &info) != 0) {
    check.level = Check::Level::kFault;
    check.found = "no folder for temporary files";
    check.mend = "make /tmp, or name a folder in TMPDIR";
    return check;
  }
  const std::uint64_t left = static_cast<std::uint64_t>(info.f_bavail) * info.f_frsize;
  check.found = human_bytes(left) + " free in " + folder.string();
  if (left < kLeastSpace) {
    check.level = Check::Level::kFault;
    check.mend = "free " + human_bytes(kLeastSpace) + " there, or name another folder in TMPDIR";
  }
  return check;
}

const char* word_of(Check::Level level) {
  if (level == Check::Level::kOk) return "ok";
  return level == Check::Level::kWarning ? "warning" : "fault";
}

struct Options {
  DoctorOptions what;
  bool quiet = false;
};

Colour colour_of(Check::Level level) {
  if (level == Check::Level::kOk) return Colour::kGood;
  return level == Check::Level::kWarning ? Colour::kBusy : Colour::kBad;
}

/// For people: one line a check, and how to mend it below.
void print_check(Session& session, const Check& check) {
  std::string word = word_of(check.level);
  word.resize(8, ' ');
  session.out() << coloured(word, colour_of(check.level), session.colours()) << one_line(check.name) << ": "
                << one_line(check.found) << '\n';
  if (!check.mend.empty()) session.out() << "        mend: " << one_line(check.mend) << '\n';
  session.out().flush();
}

/// Where packaging/all-in-one keeps the image, unless told.
DoctorOptions completed(DoctorOptions what) {
  std::error_code failure;
  for (const std::filesystem::path& folder :
       {what.state / "qemu-image", what.state.parent_path() / "qemu-image"}) {
    if (what.qemu_image.empty() && std::filesystem::exists(folder / "kernel", failure))
      what.qemu_image = folder;
  }
  return what;
}

Result<int> doctor(Session& session, const Options& options) {
  Listing listing("check", {{"CHECK", "name"}, {"STATE", "state"}, {"FOUND", "found"}, {"MEND", "mend"}});
  std::size_t count = 0, faults = 0, warnings = 0;
  const auto tell = [&](const Check& check) {
    ++count;
    faults += check.level == Check::Level::kFault ? 1 : 0;
    warnings += check.level == Check::Level::kWarning ? 1 : 0;
    if (options.quiet && check.level == Check::Level::kOk) return;
    if (session.as_table()) return print_check(session, check);
    listing.row({check.name, {word_of(check.level), word_of(check.level)}, check.found, check.mend});
  };
  const DoctorOptions what = completed(options.what);
  // Told as they come: starting VMs to see them boot takes a while.
  for (const DoctorCheck& look : session.context().checks) {
    for (const Check& check : look(what)) tell(check);
  }
  tell(check_space());
  tell(check_token(session));
  tell(check_broker(session));
  if (session.as_table()) {
    session.out() << count_of(count, "check") << ", " << count_of(faults, "fault") << ", "
                  << count_of(warnings, "warning") << '\n';
  } else {
    session.print(listing);
  }
  return faults == 0 ? kDone : kOperationFailed;
}

}  // namespace

void add_doctor_verb(Grammar& grammar) {
  auto options = std::make_shared<Options>();
  CLI::App& verb = grammar.verb(grammar.root(), "doctor",
                                "checks this machine and says how to mend each fault; needs no daemon",
                                {"mvm doctor", "mvm doctor --quick -q", "mvm doctor -o json"},
                                [options](Session& session) { return doctor(session, *options); });
  verb.add_flag("-q,--quiet", options->quiet, "only what is not in order");
  verb.add_flag("--quick", options->what.quick, "start no VMs to see whether they boot");
  verb.add_option("--libvirt-lxc", options->what.libvirt_lxc, "libvirt's URI for containers")
      ->type_name("URI");
  verb.add_option("--libvirt-qemu", options->what.libvirt_qemu, "libvirt's URI for QEMU guests")
      ->type_name("URI");
  grammar.completes(verb.add_option("--qemu-image", options->what.qemu_image,
                                    "folder with the kernel and initramfs of QEMU guests")
                        ->type_name("DIR"),
                    Completes::kFile);
  grammar.completes(
      verb.add_option("--state", options->what.state, "folder of the daemon's state")->type_name("DIR"),
      Completes::kFile);
}

}  // namespace mvm::cli
