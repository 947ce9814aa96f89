import unittest

from robot import EAST, NORTH, SOUTH, WEST, Robot


class RobotTest(unittest.TestCase):
    def test_begins_at_the_origin_facing_north(self):
        robot = Robot(NORTH, 0, 0)
        self.assertEqual(robot.coordinates, (0, 0))
        self.assertEqual(robot.direction, NORTH)

    def test_begins_elsewhere(self):
        robot = Robot(SOUTH, -1, -1)
        self.assertEqual(robot.coordinates, (-1, -1))
        self.assertEqual(robot.direction, SOUTH)

    def test_turns_right(self):
        for before, after in ((NORTH, EAST), (EAST, SOUTH), (SOUTH, WEST), (WEST, NORTH)):
            robot = Robot(before, 0, 0)
            robot.move("R")
            self.assertEqual(robot.direction, after)

    def test_turns_left(self):
        for before, after in ((NORTH, WEST), (WEST, SOUTH), (SOUTH, EAST), (EAST, NORTH)):
            robot = Robot(before, 0, 0)
            robot.move("L")
            self.assertEqual(robot.direction, after)

    def test_advances(self):
        for direction, place in ((NORTH, (0, 1)), (SOUTH, (0, -1)), (EAST, (1, 0)), (WEST, (-1, 0))):
            robot = Robot(direction, 0, 0)
            robot.move("A")
            self.assertEqual(robot.coordinates, place)

    def test_follows_a_series(self):
        robot = Robot(NORTH, 7, 3)
        robot.move("RAALAL")
        self.assertEqual(robot.coordinates, (9, 4))
        self.assertEqual(robot.direction, WEST)

    def test_unknown_instructions_are_refused(self):
        with self.assertRaises(ValueError):
            Robot().move("AX")
