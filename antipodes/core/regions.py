"""Where the AWS regions are, and how far apart two places lie."""

import re
from math import asin, cos, radians, sin, sqrt
from typing import NamedTuple

NAME_PATTERN = re.compile(r"[a-z][a-z0-9]*(-[a-z0-9]+)*")
"""What a region may be called: lower-case words and digits joined by hyphens."""

NAME_LENGTH_MAX = 32


class Coordinates(NamedTuple):
    """A place on Earth in degrees: north and east are positive."""

    latitude: float
    longitude: float


AWS_REGIONS: dict[str, Coordinates] = {
    "af-south-1": Coordinates(-33.93, 18.42),
    "ap-east-1": Coordinates(22.32, 114.17),
    "ap-east-2": Coordinates(25.03, 121.57),
    "ap-northeast-1": Coordinates(35.68, 139.69),
    "ap-northeast-2": Coordinates(37.57, 126.98),
    "ap-northeast-3": Coordinates(34.69, 135.50),
    "ap-south-1": Coordinates(19.08, 72.88),
    "ap-south-2": Coordinates(17.39, 78.49),
    "ap-southeast-1": Coordinates(1.35, 103.82),
    "ap-southeast-2": Coordinates(-33.87, 151.21),
    "ap-southeast-3": Coordinates(-6.21, 106.85),
    "ap-southeast-4": Coordinates(-37.81, 144.96),
    "ap-southeast-5": Coordinates(3.14, 101.69),
    "ap-southeast-6": Coordinates(-36.85, 174.76),
    "ap-southeast-7": Coordinates(13.76, 100.50),
    "ca-central-1": Coordinates(45.50, -73.57),
    "ca-west-1": Coordinates(51.05, -114.07),
    "eu-central-1": Coordinates(50.11, 8.68),
    "eu-central-2": Coordinates(47.38, 8.54),
    "eu-north-1": Coordinates(59.33, 18.07),
    "eu-south-1": Coordinates(45.46, 9.19),
    "eu-south-2": Coordinates(41.65, -0.88),
    "eu-west-1": Coordinates(53.35, -6.26),
    "eu-west-2": Coordinates(51.51, -0.13),
    "eu-west-3": Coordinates(48.86, 2.35),
    "il-central-1": Coordinates(32.09, 34.78),
    "me-central-1": Coordinates(25.20, 55.27),
    "me-south-1": Coordinates(26.07, 50.56),
    "mx-central-1": Coordinates(20.59, -100.39),
    "sa-east-1": Coordinates(-23.55, -46.63),
    "us-east-1": Coordinates(38.95, -77.45),
    "us-east-2": Coordinates(39.96, -83.00),
    "us-gov-east-1": Coordinates(39.96, -83.00),
    "us-gov-west-1": Coordinates(45.84, -119.70),
    "us-west-1": Coordinates(37.35, -121.96),
    "us-west-2": Coordinates(45.84, -119.70),
}
"""Coordinates of the city or county that AWS names for each region; good to about 100 km."""

EARTH_RADIUS_KM = 6371.0


def valid_name(region: str) -> bool:
    """Tell whether a text can be the name of a region."""
    return len(region) <= NAME_LENGTH_MAX and NAME_PATTERN.fullmatch(region) is not None


def distance_km(a: Coordinates, b: Coordinates) -> float:
    """Measure the great circle between two places, in kilometres."""
    lat_a, lat_b = radians(a.latitude), radians(b.latitude)
    half = (
        sin((lat_b - lat_a) / 2) ** 2
        + cos(lat_a) * cos(lat_b) * sin(radians(b.longitude - a.longitude) / 2) ** 2
    )
    return 2 * EARTH_RADIUS_KM * asin(min(1.0, sqrt(half)))
