#include "record.h"

#include <unistd.h>

#include "mvm/base/file.h"
#include "mvm/base/frame.h"
#include "mvm/base/log.h"

namespace mvm::osvm::process {
namespace {

constexpr std::string_view kSchema = "mvm-process-vm-1";

}  // namespace

std::string boot_id() {
  auto text = read_file("/proc/sys/kernel/random/boot_id", 64);
  if (!text) return "";
  while (!text->empty() && text->back() == '\n') text->pop_back();
  return *text;
}

std::filesystem::path record_file(const std::filesystem::path& state, const std::string& id) {
  return state / (id + ".json");
}

std::filesystem::path end_note_file(const std::filesystem::path& state, const std::string& id) {
  return state / (id + ".end");
}

Status write_record(const std::filesystem::path& state, const Record& record) {
  const nlohmann::json json{{"schema", kSchema},
                            {"id", record.info.id},
                            {"lab", record.info.labels.lab},
                            {"job", record.info.labels.job},
                            {"node", record.info.labels.node},
                            {"attempt", record.info.labels.attempt},
                            {"folder", record.info.folder.native()},
                            {"arch", record.info.arch},
                            {"pid", record.info.pid},
                            {"supervisor", record.supervisor},
                            {"start_ticks", record.start_ticks},
                            {"boot", record.boot}};
  return write_file_durably(record_file(state, record.info.id), json.dump(1), 0600);
}

Result<Record> read_record(const std::filesystem::path& file) {
  MVM_ASSIGN(const std::string text, read_file(file, 1 << 16));
  MVM_ASSIGN(const nlohmann::json json, parse_json(text));
  const auto field = [&](const char* name) { return json.value(name, std::string()); };
  Record record;
  try {
    if (field("schema") != kSchema)
      return Error(ErrorCode::kCorrupt, file.string() + " is not a VM's record");
    record.info.id = field("id");
    record.info.driver = Driver::kProcess;
    record.info.labels = {field("lab"), field("job"), field("node"), json.value("attempt", 1u)};
    record.info.folder = field("folder");
    record.info.arch = field("arch");
    record.info.pid = json.value("pid", 0L);
    record.supervisor = json.value("supervisor", 0);
    record.start_ticks = json.value("start_ticks", std::uint64_t{0});
    record.boot = field("boot");
  } catch (const nlohmann::json::exception& wrong) {
    return Error(ErrorCode::kCorrupt, file.string() + ": " + wrong.what());
  }
  if (record.info.id.empty() || record.supervisor <= 1 ||
      record_file(file.parent_path(), record.info.id) != file)
    return Error(ErrorCode::kCorrupt, file.string() + " is not a VM's record");
  return record;
}

std::vector<Record> read_records(const std::filesystem::path& state) {
  std::vector<Record> result;
  std::error_code problem;
  for (const auto& entry : std::filesystem::directory_iterator(state, problem)) {
    if (entry.path().extension() != ".json" || entry.path().filename().native().starts_with(".")) continue;
    auto record = read_record(entry.path());
    if (record)
      result.push_back(std::move(*record));
    else
      log::warning("vm.bad-record", {{"why", record.error().describe()}});
  }
  return result;
}

void remove_record(const std::filesystem::path& state, const std::string& id) {
  ::unlink(record_file(state, id).c_str());
  ::unlink(end_note_file(state, id).c_str());
}

}  // namespace mvm::osvm::process
