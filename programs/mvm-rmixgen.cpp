// mvm-rmixgen: makes stubs of a service definition. docs/formats/service.md.

#include <CLI/CLI.hpp>
#include <filesystem>
#include <fstream>
#include <iostream>
#include <sstream>
#include <string>

#include "mvm/rmix/definition.h"

namespace {

namespace fs = std::filesystem;

bool write(const fs::path& path, const std::string& text) {
  std::ofstream file(path, std::ios::binary | std::ios::trunc);
  file << text;
  file.close();
  if (!file) std::cerr << "mvm-rmixgen: cannot write " << path.string() << '\n';
  return static_cast<bool>(file);
}

}  // namespace

int main(int argc, char** argv) {
  CLI::App app("Makes stubs of a service definition: NAME.rmix.h and NAME.rmix.cpp, and NAME.x for rpcgen");
  std::string file;
  std::string folder = ".";
  std::string name_space = "service";
  app.add_option("definition", file, "the definition, NAME.xml")->required();
  app.add_option("--output", folder, "folder for what is made")->capture_default_str();
  app.add_option("--namespace", name_space, "of the C++: a::b")->capture_default_str();
  CLI11_PARSE(app, argc, argv);

  std::ifstream input(file, std::ios::binary);
  std::ostringstream text;
  text << input.rdbuf();
  if (!input) {
    std::cerr << "mvm-rmixgen: cannot read " << file << '\n';
    return 2;
  }
  const auto interface = mvm::rmix::read_definition(text.str(), file);
  if (!interface) {
    std::cerr << interface.error().describe() << '\n';
    return 2;
  }
  const std::string stem = fs::path(file).stem().string();
  const mvm::rmix::StubOptions options{.name_space = name_space, .header = stem + ".rmix.h"};
  const fs::path out(folder);
  if (!write(out / (stem + ".rmix.h"), mvm::rmix::write_header(*interface, options)) ||
      !write(out / (stem + ".rmix.cpp"), mvm::rmix::write_source(*interface, options)))
    return 1;
  const auto xdr = mvm::rmix::write_xdr(*interface);
  return !xdr || write(out / (stem + ".x"), *xdr) ? 0 : 1;
}
