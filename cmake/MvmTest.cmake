# mvm_add_test(<name> SOURCES <file>... [LAYERS <layer>...] [LIBS <target>...] [LABELS <label>...] [TIMEOUT <s>] [UNSANITIZED])
#
# One GoogleTest binary and one CTest entry per test program. Sources are
# relative to tests/. Labels: "real" needs libvirt and root; "long" runs only
# under ./check --full. UNSANITIZED: left out of builds with sanitizers.
set(MVM_TEST_SOURCES "" CACHE INTERNAL "test sources that belong to a target")

function(mvm_add_test name)
  cmake_parse_arguments(PARSE_ARGV 1 T "UNSANITIZED" "TIMEOUT" "SOURCES;LAYERS;LIBS;LABELS;ENVIRONMENT")
  if(NOT T_TIMEOUT)
    set(T_TIMEOUT 120)
  endif()
  list(TRANSFORM T_SOURCES PREPEND "${CMAKE_SOURCE_DIR}/tests/")
  set(MVM_TEST_SOURCES "${MVM_TEST_SOURCES};${T_SOURCES}" CACHE INTERNAL "")
  if(T_UNSANITIZED AND MVM_SANITIZE)
    return()
  endif()
  add_executable(${name} ${T_SOURCES})
  target_link_libraries(${name} PRIVATE mvm_warnings GTest::gmock GTest::gtest_main ${T_LIBS})
  target_include_directories(${name} PRIVATE ${CMAKE_SOURCE_DIR}/tests)
  foreach(layer IN LISTS T_LAYERS)
    mvm_layer_target(dep ${layer})
    target_link_libraries(${name} PRIVATE ${dep})
  endforeach()
  set_target_properties(${name} PROPERTIES RUNTIME_OUTPUT_DIRECTORY ${CMAKE_BINARY_DIR}/tests)
  target_compile_definitions(${name} PRIVATE
    MVM_SOURCE_DIR="${CMAKE_SOURCE_DIR}" MVM_BINARY_DIR="${CMAKE_BINARY_DIR}")
  add_test(NAME ${name} COMMAND ${name})
  set_tests_properties(${name} PROPERTIES TIMEOUT ${T_TIMEOUT} LABELS "${T_LABELS}"
    ENVIRONMENT "${T_ENVIRONMENT}")
  if("real" IN_LIST T_LABELS)
    set_tests_properties(${name} PROPERTIES RUN_SERIAL ON)
  endif()
endfunction()

# Stops configuration when a *_test.cpp belongs to no target.
function(mvm_check_test_sources)
  file(GLOB_RECURSE all CONFIGURE_DEPENDS "${CMAKE_SOURCE_DIR}/tests/*_test.cpp")
  foreach(file IN LISTS all)
    if(NOT file IN_LIST MVM_TEST_SOURCES)
      message(FATAL_ERROR "${file} belongs to no test target: name it in tests/CMakeLists.txt")
    endif()
  endforeach()
endfunction()
