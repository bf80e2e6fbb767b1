# Writes OUTPUT, a C++ source with the text of each FILE (kind:path, separated by |) as a string.
set(rows "")
string(REPLACE "|" ";" files "${FILES}")
foreach(entry IN LISTS files)
  string(REGEX REPLACE "^([^:]*):(.*)$" "\\1" kind "${entry}")
  string(REGEX REPLACE "^([^:]*):(.*)$" "\\2" path "${entry}")
  get_filename_component(name "${path}" NAME_WE)
  file(READ "${path}" text)
  string(APPEND rows "    {\"${kind}\", \"${name}\", R\"MVM(${text})MVM\"},\n")
endforeach()
file(WRITE "${OUTPUT}" "// Generated from schemas/, shipped/, images/ and policies/.
#include \"embedded.h\"

namespace mvm::topologies {
namespace {
constexpr EmbeddedFile kFiles[] = {
${rows}};
}  // namespace

std::span<const EmbeddedFile> embedded_files() { return kFiles; }

}  // namespace mvm::topologies
")
