"""Rupees as they are written in India."""


def rupees(value: object) -> str:
    """12345678.5 -> 1,23,45,678.50; a dash for what is not known."""
    if not isinstance(value, int | float):
        return "-"
    whole, paise = divmod(round(abs(value) * 100), 100)
    digits = str(whole)
    head, tail = digits[:-3], digits[-3:]
    groups: list[str] = []
    while head:
        head, group = head[:-2], head[-2:]
        groups.insert(0, group)
    sign = "-" if value < 0 and (whole or paise) else ""
    return f"{sign}{','.join([*groups, tail])}.{paise:02d}"
