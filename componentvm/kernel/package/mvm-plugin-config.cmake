# Plug-ins of MVM's kernel, built outside of its tree:
#
#   find_package(mvm-plugin REQUIRED)
#   mvm_plugin(hello hello.cpp)          hello.so, for a kernel's plug-in folder
#
# mvm::plugin has the headers and what they need at link time; nothing besides libc and libstdc++.
include(CMakeFindDependencyMacro)
find_dependency(nlohmann_json)
include("${CMAKE_CURRENT_LIST_DIR}/mvm-plugin-targets.cmake")

function(mvm_plugin name)
  add_library(${name} MODULE ${ARGN})
  target_compile_features(${name} PRIVATE cxx_std_20)
  target_link_libraries(${name} PRIVATE mvm::plugin)
  set_target_properties(${name} PROPERTIES PREFIX "" OUTPUT_NAME ${name} CXX_EXTENSIONS OFF)
  # Nothing of the static library inside is seen outside, and nothing outside replaces it.
  target_link_options(${name} PRIVATE LINKER:--exclude-libs,ALL LINKER:-Bsymbolic LINKER:-z,defs)
endfunction()
