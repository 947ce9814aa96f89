NORTH, EAST, SOUTH, WEST = range(4)
_STEPS = {NORTH: (0, 1), EAST: (1, 0), SOUTH: (0, -1), WEST: (-1, 0)}


class Robot:
    def __init__(self, direction=NORTH, x=0, y=0):
        self.direction = direction
        self.coordinates = (x, y)

    def move(self, instructions):
        for letter in instructions:
            if letter in "RL":
                self.direction = (self.direction + (1 if letter == "R" else -1)) % 4
            elif letter == "A":
                (x, y), (right, up) = self.coordinates, _STEPS[self.direction]
                self.coordinates = (x + right, y + up)
            else:
                raise ValueError(f"unknown instruction {letter!r}")
