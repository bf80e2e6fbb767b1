# mvm_add_test(<name> SOURCES <file>... [LAYERS <layer>...] [LIBS <target>...] [LABELS <label>...] [TIMEOUT <s>] [UNSANITIZED]
#              [COST <s>] [LOCKS <resource>...] [SERIAL])
#
# One GoogleTest binary and one CTest entry per test program. Sources are
# relative to tests/. Labels: "real" needs libvirt and root; "long" runs only
# under ./check --full. UNSANITIZED: left out of builds with sanitizers. COST: how long it takes, for those that
# take long: they start first. Tests run side by side, but for those that look at the whole machine (SERIAL) and
# those that share a lock; "emulation" is of those that emulate guests.
set(MVM_TEST_SOURCES "" CACHE INTERNAL "test sources that belong to a target")

# How a test runs beside others; empty arguments mean nothing.
function(mvm_schedule_test name serial cost locks)
  if(serial)
    set_tests_properties(${name} PROPERTIES RUN_SERIAL ON)
  endif()
  if(cost)
    set_tests_properties(${name} PROPERTIES COST ${cost})
  endif()
  if(locks)
    set_tests_properties(${name} PROPERTIES RESOURCE_LOCK "${locks}")
  endif()
endfunction()

function(mvm_add_test name)
  cmake_parse_arguments(PARSE_ARGV 1 T "UNSANITIZED;SERIAL" "TIMEOUT;COST" "SOURCES;LAYERS;LIBS;LABELS;LOCKS;ENVIRONMENT")
  if(NOT T_TIMEOUT)
    set(T_TIMEOUT 120)
  endif()
  if(MVM_SANITIZE MATCHES thread)
    math(EXPR T_TIMEOUT "${T_TIMEOUT} * 4")  # some run ten times as long
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
  mvm_schedule_test(${name} "${T_SERIAL}" "${T_COST}" "${T_LOCKS}")
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
