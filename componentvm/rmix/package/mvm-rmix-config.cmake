# RMIX outside of MVM's tree: services, their callers, kernel plug-ins that use the plug-in `rmix`, and providers.
#
#   find_package(mvm-rmix REQUIRED)
#   mvm_add_rmix_stubs(calculator calculator.xml NAMESPACE a::b)
#   target_link_libraries(program PRIVATE calculator)
include(CMakeFindDependencyMacro)
find_dependency(spdlog)
find_dependency(nlohmann_json)
find_dependency(OpenSSL)
find_dependency(Threads)
include("${CMAKE_CURRENT_LIST_DIR}/mvm-rmix-targets.cmake")
include("${CMAKE_CURRENT_LIST_DIR}/MvmRmix.cmake")
