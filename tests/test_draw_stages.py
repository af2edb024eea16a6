"""The picture of the README."""

import cv2
import numpy as np

from scripts import draw_stages, inference


def test_the_picture_shows_four_stages(tmp_path, monkeypatch):
    out = tmp_path / "stages.png"
    monkeypatch.setattr("sys.argv", ["draw_stages", str(inference.DEMO_VIDEO), str(out), "--frame", "2"])
    assert draw_stages.main() == 0
    picture = cv2.imread(str(out))
    assert picture.shape == (384, 4 * 384 + 3 * 12, 3)  # the demo and the network's square are squares
    _, square, network_input, changed = (picture[:, i * 396 :][:, :384].astype(int) for i in range(4))
    assert (network_input[220, 192] == 127).all() and np.array_equal(network_input[:100], square[:100])
    assert not np.array_equal(changed, picture[:, :384])


def test_a_frame_without_a_face_is_explained(tmp_path, monkeypatch, capsys):
    blank = tmp_path / "blank.png"
    cv2.imwrite(str(blank), np.zeros((128, 128, 3), np.uint8))
    monkeypatch.setattr("sys.argv", ["draw_stages", str(blank), str(tmp_path / "out.png")])
    assert draw_stages.main() == 2
    assert "blank.png: no face found" in capsys.readouterr().err
    assert not (tmp_path / "out.png").exists()
