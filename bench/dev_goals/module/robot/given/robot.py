# Directions may be any values, as long as they differ.
NORTH = None
EAST = None
SOUTH = None
WEST = None


class Robot:
    def __init__(self, direction=NORTH, x=0, y=0):
        pass
