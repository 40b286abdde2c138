# find_package(lutra): lutra::runtime, built from source by the project that asks for it, and lutra_add_model().
# Found with -Dlutra_DIR="$(lutra --cmake-dir)"; the same as add_subdirectory(runtime_c).
if(NOT TARGET lutra::runtime)
  add_subdirectory(${CMAKE_CURRENT_LIST_DIR}/.. ${CMAKE_BINARY_DIR}/lutra_runtime EXCLUDE_FROM_ALL)
endif()
