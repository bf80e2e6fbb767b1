# mvm_add_fuzz(<name> SOURCES <file>... [LAYERS <layer>...] [LIBS <target>...] [SEEDS <path>...])
#
# A fuzz target: its source, relative to tests/, defines LLVMFuzzerTestOneInput. In preset `fuzz` it becomes a
# libFuzzer program, which ./check --full runs; in every other build a test that feeds it the seeds and, for two
# seconds, mutations of them. SEEDS are files or folders, relative to the source tree; put small ones there that
# reach far into the parser.
add_custom_target(fuzz_targets)

function(mvm_add_fuzz name)
  cmake_parse_arguments(PARSE_ARGV 1 F "" "" "SOURCES;LAYERS;LIBS;SEEDS")
  list(TRANSFORM F_SOURCES PREPEND "${CMAKE_SOURCE_DIR}/tests/")
  list(TRANSFORM F_SEEDS PREPEND "${CMAKE_SOURCE_DIR}/")
  add_executable(${name} ${F_SOURCES})
  add_dependencies(fuzz_targets ${name})
  target_link_libraries(${name} PRIVATE mvm_warnings ${F_LIBS})
  target_include_directories(${name} PRIVATE ${CMAKE_SOURCE_DIR}/tests)
  foreach(layer IN LISTS F_LAYERS)
    mvm_layer_target(dep ${layer})
    target_link_libraries(${name} PRIVATE ${dep})
  endforeach()
  if(MVM_FUZZ)
    set_target_properties(${name} PROPERTIES RUNTIME_OUTPUT_DIRECTORY ${CMAKE_BINARY_DIR}/tests/fuzz)
    target_link_options(${name} PRIVATE -fsanitize=fuzzer)
    list(JOIN F_SEEDS "\n" lines)
    file(WRITE ${CMAKE_BINARY_DIR}/tests/fuzz/${name}.seeds "${lines}\n")
  else()
    set_target_properties(${name} PROPERTIES RUNTIME_OUTPUT_DIRECTORY ${CMAKE_BINARY_DIR}/tests)
    target_sources(${name} PRIVATE ${CMAKE_SOURCE_DIR}/tests/fuzz/replay_main.cpp)
    add_test(NAME ${name} COMMAND ${name} 2 ${F_SEEDS})
    set_tests_properties(${name} PROPERTIES TIMEOUT 120 LABELS fuzz)
  endif()
endfunction()
