# Sets BOARD_key for every key of LUTRA_BOARD's board.toml.
if(NOT EXISTS ${CMAKE_CURRENT_LIST_DIR}/${LUTRA_BOARD}/board.toml)
  message(FATAL_ERROR "LUTRA_BOARD is '${LUTRA_BOARD}'; it must be a folder of boards/ that holds a board.toml")
endif()
file(STRINGS ${CMAKE_CURRENT_LIST_DIR}/${LUTRA_BOARD}/board.toml lines REGEX "^[a-z_]+ = ")
foreach(line IN LISTS lines)
  string(REGEX MATCH "^([a-z_]+) = \"?([^\"]*)" line "${line}")
  set(BOARD_${CMAKE_MATCH_1} ${CMAKE_MATCH_2})
endforeach()
