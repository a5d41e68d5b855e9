"""What peers.py measured, as markdown."""


def markdown(results, more):
    """Tables of all results."""
    lines = [
        "| set | fit: ours | passes, Hessians | over the fastest at gap 1e-8 "
        "| at gap 1e-4 | our gap | distance | kept |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for result in results:
        fit = result["fit"]
        theirs = fit["theirs"]
        tight = theirs.get("1e-8") or theirs.get("tight")
        lines.append(
            f"| {result['name']} | {fit['seconds']:.2f} s "
            f"| {fit['passes']:.3g}, {fit['hessians']:.2g} ({fit['curvature']}) "
            f"| {_over(fit['seconds'], tight)} "
            f"| {_over(fit['seconds'], theirs.get('1e-4'))} "
            f"| {_cell(fit.get('gap'), '.0e')} | {fit['distance']:.0e} "
            f"| {result['cache_bytes'] / 1e6:.1f} MB |"
        )
    lines += [
        "",
        "| set | removed | ours | passes | bound | error | times faster than warm "
        "| than cold | a Newton step: error |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for result in results:
        first = result["first_edit"]
        lines.append(
            f"| {result['name']} | the first edit | {brief(first['seconds'])} "
            f"| {first['hessians']:g} Hessian | | | | | |"
        )
        for name, edit in result["edits"].items():
            step = edit["newton_step"] or {}
            lines.append(
                f"| | {name} ({edit['n_rows']:,}) | {brief(edit['seconds'])} "
                f"| {edit['passes']:g}{' (anew)' if edit['refit'] else ''} "
                f"| {_cell(edit['relative_bound'], '.0e')} | {edit['error']:.0e} "
                f"| {_faster(edit['seconds'], edit['warm'])} "
                f"| {_faster(edit['seconds'], edit['cold'])} "
                f"| {_cell(step.get('error'), '.0e')} |"
            )
    lines += [
        "",
        "| set | single rows in sequence | median | mean | passes | largest error |",
        "|---|---|---|---|---|---|",
    ]
    for result in results:
        sequence = result["sequence"]
        lines.append(
            f"| {result['name']} | {sequence['n_edits']:,} "
            f"| {brief(sequence['seconds'])} | {brief(sequence['mean_seconds'])} "
            f"| {sequence['passes']:g} | {sequence['error']:.0e} |"
        )
    if "growth" in more:
        times = [f"{n}: {brief(spent)}" for n, spent in more["growth"].items()]
        lines += ["", "One row out of n x 20: " + "; ".join(times) + "."]
    if "replay" in more:
        lines += [
            "",
            "| 0.1% removed | newton | its error | gd, 100 steps | its error |",
            "|---|---|---|---|---|",
        ]
    for case in more.get("replay", []):
        lines.append(
            f"| {case['name']} | {brief(case['newton'])} "
            f"| {case['newton_error']:.0e} | {brief(case['gd'])} "
            f"| {case['gd_error']:.0e} |"
        )
    for case in more.get("ridge", []):
        lines += [
            "",
            f"Ridge, 3,000 x 20, columns of mean {case['mean']:g}, condition "
            f"{case['condition']:.0e}: after 10,000 replacements of a row "
            f"{case['error']:.0e} from the solution by SVD, {case['passes']:g} passes.",
        ]
    return "\n".join(lines) + "\n"


def brief(seconds):
    return f"{seconds:.2f} s" if seconds >= 0.1 else f"{1e3 * seconds:.1f} ms"


def _over(ours, theirs):
    if not theirs:
        return ""
    solver = min(theirs, key=theirs.get)
    return f"{ours / theirs[solver]:.2f} ({solver} {theirs[solver]:.2f} s)"


def _faster(ours, theirs):
    if not theirs:
        return ""
    solver = min(theirs, key=theirs.get)
    return f"{theirs[solver] / ours:,.0f} ({solver})"


def _cell(value, spec):
    return "" if value is None else format(value, spec)
