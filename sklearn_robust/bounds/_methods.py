"""The names of the methods that certify a network, and what each of them runs."""

# Each method is at least as tight as those before it, so it sees only what they left open.
STAGES = {
    "ibp": ("ibp",),
    "crown-ibp": ("ibp", "crown-ibp"),
    "crown": ("ibp", "crown-ibp", "crown"),
    "alpha-crown": ("ibp", "crown-ibp", "alpha-crown"),
    "auto": ("ibp", "crown-ibp", "alpha-crown"),
}
METHODS = ("auto", "ibp", "crown-ibp", "crown", "alpha-crown")
