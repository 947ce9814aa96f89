from robot import EAST, NORTH, SOUTH, WEST, Robot

assert len({NORTH, EAST, SOUTH, WEST}) == 4
robot = Robot(SOUTH, 8, 4)
robot.move("LAAARRRALLLL")
assert robot.coordinates == (11, 5) and robot.direction == NORTH, (robot.coordinates, robot.direction)
robot = Robot()
robot.move("")
assert robot.coordinates == (0, 0) and robot.direction == NORTH
robot.move("AARA")
robot.move("LA")
assert robot.coordinates == (1, 3) and robot.direction == NORTH
try:
    robot.move("a?")
except ValueError:
    pass
else:
    raise AssertionError("an unknown instruction was not refused")
