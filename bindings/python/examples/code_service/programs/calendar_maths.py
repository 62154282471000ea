"""Calendar arithmetic from first principles, compared with the standard library where it has an opinion."""

import calendar
import datetime


def easter(year):
    """Gregorian Easter by the anonymous algorithm of 1876."""
    a, b, c = year % 19, year // 100, year % 100
    d, e = divmod(b, 4)
    g = (8 * b + 13) // 25
    h = (19 * a + b - d - g + 15) % 30
    i, k = divmod(c, 4)
    m = (32 + 2 * e + 2 * i - h - k) % 7
    n = (a + 11 * h + 22 * m) // 451
    month, day = divmod(h + m - 7 * n + 114, 31)
    return datetime.date(year, month, day + 1)


def day_number(year, month, day):
    """The Julian day number of a Gregorian date."""
    a = (14 - month) // 12
    y, m = year + 4800 - a, month + 12 * a - 3
    return day + (153 * m + 2) // 5 + 365 * y + y // 4 - y // 100 + y // 400 - 32045


print(*(easter(year).isoformat() for year in (1776, 1961, 2000, 2024, 2025, 2026, 2038)))
print("easter is a Sunday", all(easter(year).weekday() == 6 for year in range(1600, 2400)))
dates = (datetime.date(1600, 1, 1) + datetime.timedelta(step) for step in range(0, 290_000, 37))
offset = day_number(1, 1, 1) - datetime.date(1, 1, 1).toordinal()
print("days agree", all(day_number(*date.timetuple()[:3]) - date.toordinal() == offset for date in dates))
thirteenths = [datetime.date(y, m, 13).weekday() for y in range(2000, 2400) for m in range(1, 13)]
print("thirteenths by weekday", *(thirteenths.count(weekday) for weekday in range(7)))
print("1776-07-04 was a", calendar.day_name[datetime.date(1776, 7, 4).weekday()])
print("J2000", day_number(2000, 1, 1))
