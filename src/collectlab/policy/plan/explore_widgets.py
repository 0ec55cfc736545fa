"""The explorer's sliders: ipywidgets around :class:`~collectlab.policy.plan.explore.Desk`."""

from __future__ import annotations

import html
from typing import Any

import numpy as np

from collectlab.core import tables
from collectlab.core.errors import CollectlabError, NotAvailable
from collectlab.policy.plan.explore import LATE_STAGE, SECOND_STAGE, Desk, Look

#: Ids drawn by chance would change the notebook at each run.
_ID = "collectlab-policy-explorer"


class Explorer:
    """Sliders for capacity, costs and stage days, and the plan below them, redrawn when one is let go."""

    def __init__(self, desk: Desk):
        try:
            import ipywidgets
        except ImportError:
            raise NotAvailable("the explorer needs ipywidgets: pip install 'collectlab[lab]'.") from None
        self.desk = desk
        start = desk.start
        self.sliders = {
            "agent_hours": _slider("Agent-hours a month", start.agent_hours, 2 * start.agent_hours),
            "visits": _slider("Visits a month", start.visits, 2 * start.visits),
            "agent_hour": _slider("An agent-hour costs", start.agent_hour, max(4 * start.agent_hour, 100)),
            "complaint": _slider(
                "A complaint costs", start.complaint, max(4 * start.complaint, 1000), step=20
            ),
            "second_stage": _choice("Second stage: day", SECOND_STAGE, start.second_stage),
            "late_stage": _choice("Late stage: day", LATE_STAGE, start.late_stage),
        }
        self.text, self.plan = ipywidgets.HTML(), ipywidgets.HTML()
        self.chart = ipywidgets.Image(format="png", layout={"max_width": "720px"})
        for slider in self.sliders.values():
            slider.observe(self._redraw, names="value")
        if _ID in _shown:  # a cell run again: its sliders of before are gone
            _shown.pop(_ID).close()
        left, right = list(self.sliders.values())[:4], list(self.sliders.values())[4:]
        boxes = ipywidgets.HBox([ipywidgets.VBox(left), ipywidgets.VBox(right)])
        self.box = ipywidgets.VBox([boxes, self.text, self.chart, self.plan], model_id=_ID)
        _shown[_ID] = self.box
        self._redraw()

    def _redraw(self, _: Any = None) -> None:
        try:
            look = self.desk.look(**{k: s.value for k, s in self.sliders.items()})
        except CollectlabError as error:
            self.text.value, self.plan.value = _said(str(error)), ""
            self.chart.layout.visibility = "hidden"
            return
        picture: Any = look.plot()  # the house's axes show themselves
        self.chart.value = picture._repr_png_()
        self.chart.layout.visibility = "visible"
        self.text.value, self.plan.value = _said(look.notes[0]), _plan(look)

    def __repr__(self) -> str:
        return f"<explorer: {', '.join(s.description for s in self.sliders.values())}>"

    def _ipython_display_(self) -> None:
        from IPython.display import display

        view = {"version_major": 2, "version_minor": 0, "model_id": self.box.model_id}
        data = {"application/vnd.jupyter.widget-view+json": view, "text/plain": repr(self)}
        look = self.desk.look()  # what a reader sees who has no kernel running
        display(data | {"text/html": _said(look.notes[0]) + _plan(look)}, raw=True)


#: The boxes of sliders that stand in this session, by id.
_shown: dict[str, Any] = {}


def _said(words: str) -> str:
    return f'<div class="cl-explorer" style="line-height: 1.4"><b>{html.escape(words)}</b></div>'


def _plan(look: Look) -> str:
    table = tables.to_html(look.display_table(), look.title, look.estimand, look.notes[1:])
    return f'<div style="line-height: 1.4">{table}</div>'


def _slider(words: str, start: float, top: float, step: float = 1) -> Any:
    import ipywidgets

    return ipywidgets.FloatSlider(
        value=start,
        min=0,
        max=max(step * np.ceil(top / step), 10 * step),
        step=step,
        description=words,
        continuous_update=False,
        readout_format=",.0f",
        style={"description_width": "150px"},
        layout={"width": "420px"},
    )


def _choice(words: str, options: tuple[int, ...], start: int) -> Any:
    import ipywidgets

    return ipywidgets.SelectionSlider(
        value=start,
        options=options,
        description=words,
        continuous_update=False,
        style={"description_width": "150px"},
        layout={"width": "420px"},
    )
